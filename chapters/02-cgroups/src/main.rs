//! `corten-cgroups`: chapter 2 as a program.
#![deny(unsafe_code)]

fn main() {}
