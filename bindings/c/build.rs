//! Gives the shared library its name, by which programs that were linked with it find it again.

#![allow(
    clippy::disallowed_methods,
    reason = "cargo tells a build script by the environment"
)]

fn main() {
    // The first number is the ABI's: it changes when a struct or a function does so that programs have to be compiled anew.
    // Before 1.0 the second one is part of it.
    let abi = "0.1";
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcredits.so.{abi}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
