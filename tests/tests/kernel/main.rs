//! The daemon in a running kernel, seen from the programs that it confines: each property is looked at before the
//! daemon is there, while it is, and after it has gone.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers of a test may stop at the first surprise as the test itself may"
)]

mod answers;
mod bad_input;
mod close;
mod corpus;
mod dangerous_answers;
mod defaults;
mod dns_over_tcp;
mod doctor;
mod events;
mod examples;
mod excuses;
mod exec;
mod explain;
mod first_connect;
mod impostors;
mod known;
mod lacking;
mod leak;
mod live;
mod lookups;
mod matrix;
mod message;
mod names;
mod programs;
mod reachable;
mod reload;
mod resolved;
mod resolvers;
mod rules;
mod scenario;
mod several;
mod spoof;
mod status;
mod translated;
mod trial;
mod wire;
