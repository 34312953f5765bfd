//! The messages of nfnetlink_queue (`linux/netfilter/nfnetlink_queue.h`), as bytes: netlink's header (16 bytes), that
//! of nfnetlink (4), attributes. Numbers in headers are the machine's, in attributes the network's.

/// `NFNL_SUBSYS_QUEUE`.
const SUBSYSTEM: u16 = 3;
/// `NFQNL_MSG_PACKET`, `_VERDICT`, `_CONFIG`, `_VERDICT_BATCH`.
const PACKET: u16 = 0;
const VERDICT: u16 = 1;
const CONFIG: u16 = 2;
const VERDICT_BATCH: u16 = 3;
/// `NLMSG_ERROR`: an error, or (0) an acknowledgement.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST`, `NLM_F_ACK`.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const HEADER: usize = 20;

/// What becomes of a packet: `NF_DROP`, `NF_ACCEPT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop = 0,
    Accept = 1,
}

/// What the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// A packet waits for its verdict. `bytes` is its length (none when only metadata is copied).
    Packet { queue: u16, id: u32, bytes: Option<u32> },
    /// The answer to a request: 0, or an error number.
    Answer { sequence: u32, errno: i32 },
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Attributes here are a few bytes long.
    out.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn message(kind: u16, flags: u16, sequence: u32, queue: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    for (k, v) in attributes {
        attribute(&mut out, *k, v);
    }
    let length = out.len() as u32;
    out[..4].copy_from_slice(&length.to_ne_bytes());
    out[4..6].copy_from_slice(&(SUBSYSTEM << 8 | kind).to_ne_bytes());
    out[6..8].copy_from_slice(&(REQUEST | flags).to_ne_bytes());
    out[8..12].copy_from_slice(&sequence.to_ne_bytes());
    out[18..20].copy_from_slice(&queue.to_be_bytes());
    out
}

/// `NFQNL_CFG_CMD_BIND`: this socket serves the queue.
pub(crate) fn bind(sequence: u32, queue: u16) -> Vec<u8> {
    message(CONFIG, ACK, sequence, queue, &[(1, &[1, 0, 0, 0])])
}

/// `NFQNL_CFG_CMD_UNBIND`: nobody does; what still waits is dropped.
pub(crate) fn unbind(sequence: u32, queue: u16) -> Vec<u8> {
    message(CONFIG, ACK, sequence, queue, &[(1, &[2, 0, 0, 0])])
}

/// What is copied of each packet: metadata (`NFQNL_COPY_META`), or one byte, which brings the length along.
pub(crate) fn copy(sequence: u32, queue: u16, length: bool) -> Vec<u8> {
    let value: &[u8] = if length { &[0, 0, 0, 1, 2] } else { &[0, 0, 0, 0, 1] };
    message(CONFIG, ACK, sequence, queue, &[(2, value)])
}

/// How many packets may wait, and the flags `NFQA_CFG_F_FAIL_OPEN` (what comes on top of that passes) and, if packets
/// may come as large as the sender's offload made them, `NFQA_CFG_F_GSO`.
pub(crate) fn limits(sequence: u32, queue: u16, waiting: u32, offload: bool) -> Vec<u8> {
    let flags = if offload { 1_u32 | 4 } else { 1 };
    message(
        CONFIG,
        ACK,
        sequence,
        queue,
        &[
            (3, &waiting.to_be_bytes()),
            (4, &5_u32.to_be_bytes()),
            (5, &flags.to_be_bytes()),
        ],
    )
}

fn verdict_header(verdict: Verdict, id: u32) -> [u8; 8] {
    let mut h = [0; 8];
    h[..4].copy_from_slice(&(verdict as u32).to_be_bytes());
    h[4..].copy_from_slice(&id.to_be_bytes());
    h
}

/// The verdict on one packet.
pub(crate) fn verdict(queue: u16, id: u32, verdict: Verdict) -> Vec<u8> {
    message(VERDICT, 0, 0, queue, &[(2, &verdict_header(verdict, id))])
}

/// Accepts every packet that waits, up to this one.
pub(crate) fn accept_to(queue: u16, id: u32) -> Vec<u8> {
    message(VERDICT_BATCH, 0, 0, queue, &[(2, &verdict_header(Verdict::Accept, id))])
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// Reads what the kernel sent: one or more messages; what is neither a packet nor an answer is passed over.
pub(crate) fn read(mut bytes: &[u8]) -> Vec<Message> {
    let mut out = Vec::new();
    while let (Some(length), Some(kind)) = (u32_at(bytes, 0), u16_at(bytes, 4)) {
        let length = length as usize;
        let Some(whole) = bytes.get(..length).filter(|_| length >= 16) else {
            break;
        };
        if kind == ERROR {
            if let (Some(sequence), Some(errno)) = (u32_at(whole, 8), u32_at(whole, 16)) {
                out.push(Message::Answer {
                    sequence,
                    errno: -(errno as i32),
                });
            }
        } else if kind == SUBSYSTEM << 8 | PACKET {
            out.extend(packet(whole));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    out
}

fn packet(message: &[u8]) -> Option<Message> {
    let queue = u16::from_be_bytes(message.get(18..20)?.try_into().ok()?);
    let (mut id, mut whole, mut payload) = (None, None, None);
    let mut rest = message.get(HEADER..)?;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else { break };
        let number = || Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?));
        // The upper two bits are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
        match kind & 0x3fff {
            1 => id = number(),
            10 => payload = u32::try_from(value.len()).ok(),
            13 => whole = number(),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Message::Packet {
        queue,
        id: id?,
        bytes: whole.or(payload),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet message as the kernel makes it.
    fn kernel(queue: u16, id: u32, length: Option<u32>) -> Vec<u8> {
        let mut header = id.to_be_bytes().to_vec();
        header.extend([8, 0, 0]);
        let mut attributes: Vec<(u16, Vec<u8>)> = vec![(5, vec![0, 0, 0, 9]), (1, header)];
        if let Some(l) = length {
            attributes.push((10, vec![0x45]));
            attributes.push((13, l.to_be_bytes().to_vec()));
        }
        let borrowed: Vec<(u16, &[u8])> = attributes.iter().map(|(k, v)| (*k, v.as_slice())).collect();
        message(PACKET, 0, 0, queue, &borrowed)
    }

    #[test]
    fn packets_and_answers_are_read_also_many_at_once() {
        let mut bytes = kernel(7, 41, None);
        bytes.extend(kernel(8, 42, Some(1500)));
        let mut answer = vec![0; 36];
        answer[..4].copy_from_slice(&36_u32.to_ne_bytes());
        answer[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        answer[8..12].copy_from_slice(&5_u32.to_ne_bytes());
        answer[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        bytes.extend(answer);
        assert_eq!(
            read(&bytes),
            [
                Message::Packet {
                    queue: 7,
                    id: 41,
                    bytes: None
                },
                Message::Packet {
                    queue: 8,
                    id: 42,
                    bytes: Some(1500)
                },
                Message::Answer { sequence: 5, errno: 1 },
            ]
        );
    }

    /// The layout of the requests against the kernel's header files (little endian).
    #[cfg(target_endian = "little")]
    #[test]
    fn requests_have_the_kernels_layout() {
        assert_eq!(
            bind(9, 258),
            [
                28, 0, 0, 0, 2, 3, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 8, 0, 1, 0, 1, 0, 0, 0
            ]
        );
        assert_eq!(copy(1, 0, true)[20..], [9, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0]);
        assert_eq!(
            accept_to(1, 7),
            [
                32, 0, 0, 0, 3, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 12, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 7
            ]
        );
        assert_eq!(verdict(1, 7, Verdict::Drop)[24..28], [0, 0, 0, 0]);
        assert_eq!(
            limits(1, 0, 2, true)[20..],
            [8, 0, 3, 0, 0, 0, 0, 2, 8, 0, 4, 0, 0, 0, 0, 5, 8, 0, 5, 0, 0, 0, 0, 5]
        );
    }

    proptest! {
        #[test]
        fn nothing_read_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
        }

        #[test]
        fn a_cut_message_is_passed_over(cut in 0_usize..48) {
            let whole = kernel(1, 2, Some(3));
            prop_assert!(cut >= whole.len() || read(&whole[..cut]).is_empty());
        }
    }
}
