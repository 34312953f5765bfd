//! Faults of the network: what a scenario breaks and mends.
//!
//! Cut bytes are held, not lost to the connection: TCP would send them again. They leave once the way is mended,
//! in order, and take the way's latency from then; TCP's own backoff (up to minutes) is not waited for, so that a
//! scenario measures the components' reaction and not the luck of a timer. Connections never die of a cut alone
//! (Linux gives up after some 15 minutes, `tcp_retries2`); components have timeouts of their own.

use crate::network::Net;

impl Net {
    /// Cuts two sites from each other, both ways: the link between them, if there is one, carries nothing (through
    /// traffic neither: routes do not change), and nothing passes between their own hosts, whatever the way.
    /// Connections stay up, their bytes are held; connects wait.
    pub fn cut(&self, a_site: &str, b_site: &str) {
        self.change(|s| {
            s.topology.cuts.insert((a_site.to_owned(), b_site.to_owned()));
            s.topology.cuts.insert((b_site.to_owned(), a_site.to_owned()));
        });
    }

    /// As [`Net::cut`], one way only: what goes back still arrives. Connects need both ways, and wait.
    pub fn cut_one_way(&self, from_site: &str, to_site: &str) {
        self.change(|s| s.topology.cuts.insert((from_site.to_owned(), to_site.to_owned())));
    }

    /// Mends what [`Net::cut`] and [`Net::cut_one_way`] cut between two sites, in both directions.
    pub fn heal(&self, a_site: &str, b_site: &str) {
        self.change(|s| {
            s.topology.cuts.remove(&(a_site.to_owned(), b_site.to_owned()));
            s.topology.cuts.remove(&(b_site.to_owned(), a_site.to_owned()));
        });
    }

    /// Resets every connection between two sites or across the link between them, once.
    pub fn reset(&self, a_site: &str, b_site: &str) {
        self.kill(|s, c| {
            let sites = c.from.as_deref().and_then(|f| s.site(f)).zip(s.site(&c.to));
            sites.is_some_and(|(from, to)| s.topology.crosses(from, to, a_site, b_site))
        });
    }

    /// Cuts a site from all others. Its hosts still reach each other.
    pub fn isolate(&self, site: &str) {
        self.change(|s| s.topology.isolated.insert(site.to_owned()));
    }

    /// Ends [`Net::isolate`]; cuts between two sites stay.
    pub fn heal_site(&self, site: &str) {
        self.change(|s| s.topology.isolated.remove(site));
    }

    /// Stops a host: its connections are reset, also those of programs outside; it cannot connect nor be connected
    /// to (`ConnectionRefused`) until [`Net::start_host`]. What listens there goes on listening.
    pub fn stop_host(&self, host: &str) {
        self.state().stopped.insert(host.to_owned());
        self.tell_waiting();
        self.kill(|_, c| c.to == host || c.from.as_deref() == Some(host));
    }

    /// Starts a stopped host again: its listeners work as before.
    pub fn start_host(&self, host: &str) {
        self.state().stopped.remove(host);
    }
}
