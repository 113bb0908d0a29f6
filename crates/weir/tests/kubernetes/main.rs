//! Runs as Jobs of a real Kubernetes: a real API server with its admission and its controllers, a real `weir worker`, and a stand-in for a
//! node that runs the command of each Pod as a process (`weir_testkit::kubernetes::Kubelet`).
//!
//! * [`scene`]: a platform, its worker, a namespace and a node; [`ending`]: how runs end; [`trouble`]: what goes wrong around them;
//! * [`walls`]: what a run may see and reach.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod ending;
mod scene;
#[path = "../platform/stage.rs"]
#[allow(dead_code)] // Shared with the tests of the platform, which use more of it.
mod stage;
mod trouble;
mod walls;
