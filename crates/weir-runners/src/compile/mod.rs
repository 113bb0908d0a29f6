//! From a checked pipeline to an engine's artefact.
