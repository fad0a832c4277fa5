//! Empty: lets `enforcer` build-depend on this package, so that cargo rebuilds the kernel programs when they change.
#![no_std]
