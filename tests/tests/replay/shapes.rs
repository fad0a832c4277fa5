//! The shapes of answers, each by what is asked of whom.

use std::collections::BTreeSet;

use enforcer_tests::Netns;

/// Addresses of the servers in the namespace.
pub const DNSMASQ: &str = "198.18.0.53";
pub const UNBOUND: &str = "198.18.0.54";
pub const UNBOUND_SIX: &str = "2001:db8::54";
pub const BIND: &str = "198.18.0.55";
pub const CRAFTED: &str = "198.18.0.56";

/// A question, and how many addresses its answers give it.
#[derive(Debug)]
pub struct Shape {
    server: &'static str,
    /// What dig is told: the name first.
    question: &'static [&'static str],
    pub addresses: usize,
}

const fn shape(server: &'static str, question: &'static [&'static str], addresses: usize) -> Shape {
    Shape { server, question, addresses }
}

/// 240 characters.
const LONG: &str = "a23456789-123456789-123456789-123456789-123456789-123456789.\
    b23456789-123456789-123456789-123456789-123456789-123456789.\
    c23456789-123456789-123456789-123456789-123456789-123456789.\
    d23456789-123456789-123456789-123456789.crafted.test";

pub const SHAPES: &[Shape] = &[
    shape(DNSMASQ, &["a.masq.test", "A"], 1),
    shape(DNSMASQ, &["six.masq.test", "AAAA"], 1),
    shape(DNSMASQ, &["alias.masq.test", "A"], 1),
    shape(DNSMASQ, &["any.wild.masq.test", "A"], 1),
    shape(DNSMASQ, &["nowhere.masq.test", "A"], 0),
    shape(DNSMASQ, &["four.masq.test", "AAAA"], 0),
    // Mixed case; no EDNS.
    shape(DNSMASQ, &["MiXeD.mAsQ.TeSt", "A"], 1),
    shape(DNSMASQ, &["plain.masq.test", "A", "+noedns"], 1),
    shape(UNBOUND, &["a.unbound.test", "A"], 1),
    shape(UNBOUND, &["zero.unbound.test", "A"], 1),
    shape(UNBOUND, &["any.wild.unbound.test", "A"], 1),
    shape(UNBOUND, &["https.unbound.test", "HTTPS"], 1),
    // By way of BIND, with an upstream question in mixed case.
    shape(UNBOUND, &["c1.bind.test", "A"], 1),
    shape(UNBOUND_SIX, &["b.unbound.test", "A"], 1),
    shape(UNBOUND_SIX, &["c.unbound.test", "A", "+tcp"], 1),
    shape(BIND, &["chain.bind.test", "A"], 1),
    shape(BIND, &["www.old.bind.test", "A"], 1),
    shape(BIND, &["svc.bind.test", "HTTPS"], 3),
    shape(BIND, &["_dns.bind.test", "SVCB"], 1),
    shape(BIND, &["apex.bind.test", "HTTPS"], 0),
    shape(BIND, &["x.wild.bind.test", "A"], 1),
    shape(BIND, &["nodata.bind.test", "A"], 0),
    shape(BIND, &["zero.bind.test", "AAAA"], 1),
    // Round robin, which fits with EDNS, is cut without, and comes by TCP.
    shape(BIND, &["many.bind.test", "A", "+bufsize=4096"], 100),
    shape(BIND, &["more.bind.test", "A", "+noedns"], 100),
    shape(BIND, &["third.bind.test", "AAAA", "+tcp"], 100),
    shape(BIND, &["large.bind.test", "ANY", "+bufsize=4096", "+notcp"], 1),
    shape(CRAFTED, &["turned.crafted.test", "A"], 1),
    shape(CRAFTED, &["x.bare.crafted.test", "A"], 1),
    shape(CRAFTED, &["other.crafted.test", "A"], 1),
    shape(CRAFTED, &["two.crafted.test", "A"], 0),
    shape(CRAFTED, &["fail.crafted.test", "A"], 0),
    shape(CRAFTED, &["pointers.crafted.test", "A"], 2),
    shape(CRAFTED, &["cut.crafted.test", "A"], 2),
    shape(CRAFTED, &["split.crafted.test", "A", "+tcp"], 2),
    shape(CRAFTED, &["service.crafted.test", "HTTPS"], 3),
    shape(CRAFTED, &["both.crafted.test", "A", "+tcp", "+keepopen", "twice.crafted.test", "A"], 1),
    shape(CRAFTED, &["week.crafted.test", "A"], 1),
    shape(CRAFTED, &[LONG, "A"], 1),
];

impl Shape {
    /// Has dig ask. What it thinks of the answer does not matter.
    pub fn ask(&self, netns: &Netns) {
        let mut dig = netns.command("dig").unwrap();
        dig.arg(format!("@{}", self.server)).args(["+time=5", "+tries=1", "+norec", "+nocookie"]);
        if self.server != CRAFTED {
            dig.arg("+rec");
        }
        let output = dig.args(self.question).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("no servers could be reached"), "{self:?}: {text}");
    }

    /// How many addresses there are for the name that was asked for.
    pub fn count<'a>(&self, bindings: impl Iterator<Item = (&'a str, &'a str)>) -> usize {
        let name = self.question[0].to_lowercase();
        bindings
            .filter(|(question, _)| *question == name)
            .map(|(_, address)| address)
            .collect::<BTreeSet<_>>()
            .len()
    }
}
