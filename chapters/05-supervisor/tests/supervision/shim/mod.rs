//! The tests by what they are about; `./x test shim::` runs them all.

mod attacks;
mod crash;
mod exec;
mod health;
mod idle;
mod life;
mod log;
mod restarts;
mod streams;
mod terminal;
