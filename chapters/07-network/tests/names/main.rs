//! The name server of a network, seen from its containers.
#![deny(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod attacks;
mod forwarding;
mod lab;
mod life;
mod redirect;
mod resolving;
