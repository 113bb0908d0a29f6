//! Pipelines and what each engine makes of them.
