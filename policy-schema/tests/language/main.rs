//! The language by example: hand-written cases, and the pages that people read.

mod corpus;
mod examples;
mod page;
mod reference;
