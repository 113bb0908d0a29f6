"""Gives the requests of the stateful phase an Idempotency-Key of their own, where they have one that fits the document.

Schemathesis draws short keys ("0"), and so the same one for equal requests of scenarios that have nothing to do with each other. The server
then gives the first answer again, as it must: also "201 created" for a resource that another scenario has deleted since. The check
ensure_resource_availability looks at one scenario only and takes the 404 that follows for a lost resource. What a repeated key does is
tested in api/idempotency.rs and in the other phases; keys that do not fit are sent as drawn.
"""

import re
import uuid

import schemathesis

FITS = re.compile(r"[\x21-\x7e]{1,255}")


@schemathesis.hook
def before_call(context, case, kwargs):
    # In the other phases a changed header would make schemathesis forget what the case is about (a missing Authorization, say).
    if case.meta is None or case.meta.phase.name.value != "stateful":
        return
    headers = case.headers or {}
    for name, key in headers.items():
        if name.lower() == "idempotency-key" and isinstance(key, str) and FITS.fullmatch(key):
            headers[name] = key[:200] + uuid.uuid4().hex
            break
