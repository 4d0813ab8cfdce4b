//! Conformance: what the OCI runtime specification, and the suites that measure runtimes by it,
//! expect of any runtime. Each test is one check, made from outside, by command line; which
//! program is measured is said by `CORTEN_CONFORMANCE_RUNTIME` (see `rig`). `./x soak conformance`
//! runs all of this against ours, runc and crun and writes the table.
//!
//! | module | what it checks |
//! |---|---|
//! | `lifecycle` | create, start, state, kill, delete: their order, errors and words |
//! | `hooks` | six kinds of hooks, their input, their failures |
//! | `process`, `capability` | user, limits, priorities, capability sets |
//! | `exec` | further processes in a container |
//! | `namespaces` | new ones, by path, the wrong ones, id maps, time |
//! | `mounts`, `recursive`, `idmapped` | mounts and their options |
//! | `paths`, `root`, `devices` | what is masked, read-only, made, propagated |
#![allow(clippy::unwrap_used)]
//! | `kernel` | sysctl, names, personality, memory policy, intelRdt, network devices |
//! | `seccomp` | actions, arguments, notification |
//! | `v1`, `v2`, `groups` | control groups |
//! | `document` | versions, annotations, unknown and invalid fields, `features` |

mod capability;
mod devices;
mod document;
mod exec;
mod groups;
mod hooks;
mod idmapped;
mod kernel;
mod lifecycle;
mod mounts;
mod namespaces;
mod paths;
mod process;
mod recursive;
mod root;
mod seccomp;
mod v1;
mod v2;

#[path = "../rig/mod.rs"]
mod rig;
