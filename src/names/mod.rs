//! How images and platforms are written: what Dockerfiles, command lines and registries have in common. Pure.

pub mod image;
pub mod platform;
