//! Names and ids that the controllers make up.

use cfn_api::names;

use crate::engine::fnv1a;

/// `rand.SafeEncodeString` of apimachinery: each byte as one of the letters that spell nothing.
fn safe_encode(text: &str) -> String {
    const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    text.bytes()
        .map(|b| char::from(SAFE[usize::from(b) % SAFE.len()]))
        .collect()
}

/// The Work's name of a template (`names.GenerateWorkName`).
pub(super) fn work_name(kind: &str, name: &str, namespace: &str) -> String {
    let name = name.replace(':', ".").to_lowercase();
    let whole = if namespace.is_empty() {
        format!("{name}-{kind}")
    } else {
        format!("{namespace}-{name}-{kind}")
    };
    format!("{name}-{}", safe_encode(&fnv1a(&whole.to_lowercase()).to_string()))
}

/// A binding's name as the end of a label's key (`names.GenerateBindingReferenceKey`).
pub(super) fn reference(namespace: &str, name: &str) -> String {
    let whole = if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}-{name}")
    };
    safe_encode(&fnv1a(&whole).to_string())
}

/// An id in the form of a UUID (version 8: ours), the same for the same words. Karmada draws it at random; a
/// simulated run must not.
pub(super) fn permanent_id(words: &[&str]) -> String {
    let mut halves = [0xcbf2_9ce4_8422_2325_u64, 0x8422_2325_cbf2_9ce4];
    for (i, half) in halves.iter_mut().enumerate() {
        for byte in words
            .iter()
            .flat_map(|w| w.bytes().chain([0]))
            .chain([u8::try_from(i).unwrap_or(0)])
        {
            *half = (*half ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // FNV's high bits depend little on the last bytes.
        *half ^= *half >> 29;
        *half = half.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    let high = (halves[0] & !0xf000) | 0x8000;
    let low = (halves[1] & !(0b11 << 62)) | (0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// Whether policies leave a namespace alone (`names.IsReservedNamespace`, and ours).
pub(super) fn reserved(namespace: &str) -> bool {
    namespace == "karmada-system"
        || namespace == names::LEASE_NAMESPACE
        || namespace == names::CFN_NAMESPACE
        || namespace.starts_with(names::EXECUTION_SPACE_PREFIX)
        || namespace.starts_with("kube-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_names_are_karmadas() {
        for (kind, name, namespace, want) in [
            ("Deployment", "web", "default", "web-7b7cc5b9ff"),
            ("Deployment", "sentiment", "default", "sentiment-69c7498f4b"),
            ("ConfigMap", "conf", "default", "conf-67ff5846fd"),
            ("ClusterRole", "reader", "", "reader-65fbbc7cc7"),
            ("Job", "j", "default", "j-59d9bcfd99"),
            ("Deployment", "b", "default", "b-686f7448c9"),
        ] {
            assert_eq!(work_name(kind, name, namespace), want);
        }
    }

    #[test]
    fn ids_look_like_uuids_and_differ() {
        let a = permanent_id(&["binding", "1"]);
        assert_eq!(a, permanent_id(&["binding", "1"]));
        assert_ne!(a, permanent_id(&["binding", "2"]));
        assert_eq!(a.len(), 36);
        assert_eq!(&a[14..15], "8");
    }
}
