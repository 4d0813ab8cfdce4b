//! Chapter 7 of Corten: networks.
#![deny(unsafe_code)]
