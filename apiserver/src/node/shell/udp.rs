//! The servers of `agnhost` over UDP: `netexec`, `serve-hostname` and `porter`.

use cfn_net::{Datagram, DatagramSocket, Net};

use super::run::{Io, Shell};

/// What is answered to a datagram.
pub(super) enum Answers {
    /// `netexec`'s commands.
    Commands,
    /// The same to all.
    Always(String),
}

/// A socket of a host; a reason when there is none.
pub(super) fn socket(net: &Net, host: &str, port: u16) -> Result<DatagramSocket, String> {
    net.bind(host, port).map_err(|e| format!("listen udp :{port}: {e}"))
}

/// The answer to a command of `netexec`; none to what it does not know.
fn command(asked: &str, hostname: &str, port: u16, from: &(String, u16)) -> Option<String> {
    let asked = asked.trim().to_lowercase();
    match asked.as_str() {
        "hostname" => Some(hostname.to_owned()),
        "clientip" => Some(format!("{}:{}", from.0, from.1)),
        "serverport" => Some(port.to_string()),
        other => other.strip_prefix("echo ").map(str::to_owned),
    }
}

/// Answers for ever.
pub(super) async fn serve(mut socket: DatagramSocket, answers: &Answers, shell: &Shell, io: &Io) {
    loop {
        let Datagram { from, data } = match socket.recv().await {
            Ok(d) => d,
            // What ICMP says of earlier answers is nobody's concern.
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => continue,
            Err(_) => return,
        };
        let answer = match answers {
            Answers::Always(text) => Some(text.clone()),
            Answers::Commands => command(&String::from_utf8_lossy(&data), &shell.p.hostname, socket.port(), &from),
        };
        match answer {
            Some(text) => {
                // Who went away meanwhile misses nothing.
                let _ = socket.send(&from.0, from.1, text.as_bytes());
            }
            None => shell.complain(io, &format!("Unknown UDP command received from {}:{}", from.0, from.1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let from = ("10.1.0.2".to_owned(), 4000);
        for (asked, expected) in [
            ("hostName\n", Some("h")),
            ("echo Hi There", Some("hi there")),
            ("clientip", Some("10.1.0.2:4000")),
            ("serverport", Some("8081")),
            ("nope", None),
            ("", None),
        ] {
            assert_eq!(command(asked, "h", 8081, &from).as_deref(), expected, "{asked}");
        }
    }
}
