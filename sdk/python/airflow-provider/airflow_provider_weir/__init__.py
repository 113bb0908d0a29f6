"""Weir for Apache Airflow.

* ``api``: what is asked of a Weir server, and what is asked again when it fails; knows nothing of Airflow.
* ``hooks``: a connection of Airflow as such a server.
* ``operators``, ``triggers``, ``sensors``: a run as a task.
"""

__version__ = "0.1.0"
