//! What the verifier makes of the programs.

use std::io::Write as _;

use enforcer_tests::{Lab, Machine};

use crate::scenario::policy;

const POLICY: &str = "rules:\n  - { name: malware, action: deny, to: { names: [\"*.evil.example\"] } }\n";

/// Half of what the verifier goes through before it gives up (`BPF_COMPLEXITY_LIMIT_INSNS` in `include/linux/bpf.h`).
const MOST: u64 = 500_000;

#[test]
fn every_program_leaves_the_verifier_room() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let daemon = lab.daemon(backend).policy("policy", &policy(POLICY));
        let daemon = daemon.environment("ENFORCER_LOG", "enforcer=debug").environment("NO_COLOR", "1");
        let daemon = daemon.start().unwrap();
        let log = daemon.stderr().unwrap();
        let costs: Vec<(&str, u64)> = log.lines().filter_map(cost).collect();
        let release = Machine::current().release();
        for (program, instructions) in &costs {
            // Past the test runner, which hides what a test prints: somebody wants to see it grow.
            let line =
                format!("VERIFIED: Linux {release}, {backend}: {program} {instructions} instructions\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            assert!(*instructions < MOST, "{program}: {instructions}");
        }
        assert!(costs.iter().any(|(program, _)| *program == "ingress"), "{log}");
        assert!(costs.len() > 1, "{costs:?}");
    });
}

/// The program and its count in a line of the log.
fn cost(line: &str) -> Option<(&str, u64)> {
    let (_, fields) = line.split_once(" verified program=\"")?;
    let (program, count) = fields.split_once("\" instructions=")?;
    Some((program, count.trim().parse().ok()?))
}
