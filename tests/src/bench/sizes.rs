//! What does not depend on how many names a policy has, and what a name costs where it does.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};

use enforcer_tests::Cgroup;

use crate::client::Meter;
use crate::packets::Kind;
use crate::programs::Daemon;
use crate::report::{Report, Unit};
use crate::{Error, PACKETS, blocked, head_of_policy, kernel, millis};

const SIZES: &str = "10. The same with few and with many names";

/// Policies of a thousand names, of `names`, and of ten times as many.
pub fn measure(meter: &mut Meter, cgroup: &Cgroup, report: &mut Report, names: usize) -> Result<(), Error> {
    let directory = tempfile::tempdir()?;
    let policy = directory.path().join("policy.yaml");
    let rules = "  - { name: evil, action: deny, to: { names: [\".evil.test\"] } }\n  - { name: list, action: deny, to: { lists: [\"names.txt\"] } }\n";
    fs::write(&policy, format!("{}{rules}", head_of_policy()))?;
    let sized = |size: usize| format!("{size} names");
    for (names, globs, rounds, size) in [
        (1000, 0, 3, sized(1000)),
        (1000, 1000, 3, "1000 names and 1000 globs".to_owned()),
        (names, 0, 3, sized(names)),
        (names * 10, 0, 1, sized(names * 10)),
    ] {
        let mut list = BufWriter::new(File::create(directory.path().join("names.txt"))?);
        for number in 0..names {
            writeln!(list, ".{}", blocked(number as u64))?;
        }
        for number in 0..globs {
            // All of them may match what is asked for, until its first label.
            let word = blocked(number as u64);
            writeln!(list, "{}*.good.test", word.get(..6).unwrap_or(&word))?;
        }
        list.flush()?;
        for _ in 0..rounds {
            let (daemon, loaded) = Daemon::start_logging(cgroup, &policy)?;
            let mut add =
                |what: &str, unit, value| report.add(SIZES, &format!("{what}; {size}"), unit, value);
            add("hashing and laying out", Unit::Milliseconds, millis(loaded.compiled));
            add("into the kernel and swapped in", Unit::Milliseconds, millis(loaded.installed));
            let all = loaded.compiled + loaded.installed;
            add("both together", Unit::Milliseconds, millis(all));
            if let Ok(memory) = kernel::map_memory(daemon.pid()) {
                let image = memory.get("IMAGES").copied().unwrap_or_default();
                add("kernel memory of the image, a name", Unit::Bytes, image as f64 / (names + globs) as f64);
            }
            for (what, suffix) in [("matches nothing", "good.test"), ("is denied and bound", "evil.test")] {
                let batch = meter.packets(Kind::Answer(suffix), PACKETS)?;
                add(&format!("p50, DNS query and answer that {what}"), Unit::Microseconds, batch.p50);
            }
            if let Ok(_statistics) = kernel::statistics() {
                for (what, suffix) in [("matches nothing", "good.test"), ("is denied and bound", "evil.test")]
                {
                    let before = kernel::runs(daemon.pid())?;
                    meter.packets(Kind::Answer(suffix), PACKETS)?;
                    let after = kernel::runs(daemon.pid())?;
                    // A tenth more to warm up. The query is sent and received, too.
                    let answers = f64::from(PACKETS + PACKETS / 10);
                    let micros = (after.packets.0 - before.packets.0) as f64 / 1e3 / answers;
                    add(&format!("in the programs, per answer that {what}"), Unit::Microseconds, micros);
                }
            }
            daemon.stop()?;
        }
    }
    report.note(
        SIZES,
        "The times of a start's two steps are the daemon's own (`ENFORCER_LOG`), taken while it has the machine to itself as \
         far as the machine allows.",
    );
    Ok(())
}
