//! The daemon and the command line of enforcer. The map of the modules is docs/ARCHITECTURE.md.

pub mod backend;
pub mod canary;
pub mod cases;
pub mod cgroups;
pub mod cli;
pub mod clock;
pub mod compile;
pub mod control;
pub mod daemon;
pub mod dns;
pub mod engine;
pub mod exec;
pub mod explain;
pub mod holders;
pub mod kernel;
pub mod live;
pub mod load;
pub mod name;
pub mod names;
pub mod privileges;
pub mod process;
pub mod report;
pub mod resolvers;
pub mod session;
pub mod status;
pub mod watch;
