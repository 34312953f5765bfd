//! Whom a certificate or signing request names. Kubernetes reads each organisation of a subject as a group, and a
//! user may have several; rcgen writes one value per kind of attribute, so a subject with several organisations is
//! put in here and the whole signed again.

use base64::Engine;
use rcgen::{KeyPair, SigningKey};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use crate::pki::PkiError;

/// Whom a certificate or request names, in Kubernetes' reading: the common name is the user, each organisation a
/// group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Common name: the user.
    pub cn: String,
    /// Organisations: the groups, in the certificate's order.
    pub orgs: Vec<String>,
}

impl Subject {
    pub(crate) fn of(name: &x509_parser::x509::X509Name<'_>) -> Self {
        let cn = name
            .iter_common_name()
            .find_map(|a| a.as_str().ok())
            .unwrap_or_default()
            .to_owned();
        let orgs = name
            .iter_organization()
            .filter_map(|a| a.as_str().ok())
            .map(str::to_owned)
            .collect();
        Self { cn, orgs }
    }

    /// The DER of the name (X.501): the organisations, then the common name, each in a set of its own.
    fn der(&self) -> Vec<u8> {
        // 2.5.4.10 and 2.5.4.3 (X.520): organizationName, commonName.
        let orgs = self.orgs.iter().map(|o| (10, o));
        let parts = orgs.chain([(3, &self.cn)]).map(|(kind, value)| {
            let attribute = [tlv(0x06, &[0x55, 0x04, kind]), tlv(0x0c, value.as_bytes())].concat();
            tlv(0x31, &tlv(0x30, &attribute))
        });
        tlv(0x30, &parts.collect::<Vec<_>>().concat())
    }
}

/// The subject that a signing request (PEM) asks for.
///
/// # Errors
/// When it does not parse, or is not signed by the key it holds.
pub fn csr_subject(csr_pem: &str) -> Result<Subject, PkiError> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(csr_pem.as_bytes()).map_err(|e| unreadable(&e))?;
    let (_, csr) = X509CertificationRequest::from_der(&pem.contents).map_err(|e| unreadable(&e))?;
    csr.verify_signature().map_err(|e| unreadable(&e))?;
    Ok(Subject::of(&csr.certification_request_info.subject))
}

fn unreadable(e: &dyn std::fmt::Display) -> PkiError {
    PkiError::Parse(e.to_string())
}

/// What of X.509 a subject is put into.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Certificate,
    Request,
}

impl Kind {
    /// The PEM label, and which field of the signed part the subject is (RFC 5280, 4.1; RFC 2986, 4.1).
    fn label_and_field(self) -> (&'static str, usize) {
        match self {
            Kind::Certificate => ("CERTIFICATE", 5),
            Kind::Request => ("CERTIFICATE REQUEST", 1),
        }
    }
}

/// `der` with `subject` in its place, signed by `key` (of the algorithm that signed `der`), as PEM.
pub(crate) fn with_subject(der: &[u8], kind: Kind, subject: &Subject, key: &KeyPair) -> Result<String, PkiError> {
    let (label, field) = kind.label_and_field();
    let broken = || PkiError::Parse("no X.509 structure".to_owned());
    let whole = fields(der).ok_or_else(broken)?;
    let [signed, algorithm, _] = whole.as_slice() else {
        return Err(broken());
    };
    let name = subject.der();
    let mut parts = fields(signed).ok_or_else(broken)?;
    *parts.get_mut(field).ok_or_else(broken)? = &name;
    let signed = tlv(0x30, &parts.concat());
    // A bit string begins with the number of unused bits.
    let signature = [vec![0], key.sign(&signed)?].concat();
    let der = tlv(0x30, &[signed, algorithm.to_vec(), tlv(0x03, &signature)].concat());
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|i| &text[i..text.len().min(i + 64)])
        .collect();
    Ok(format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    ))
}

/// Tag, length, value.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let n = value.len();
    match n {
        0..0x80 => out.push(n as u8),
        0x80..0x100 => out.extend([0x81, n as u8]),
        _ => out.extend([0x82, (n >> 8) as u8, n as u8]),
    }
    out.extend_from_slice(value);
    out
}

/// The fields of a sequence, each with its tag and length.
fn fields(der: &[u8]) -> Option<Vec<&[u8]>> {
    let (start, end) = extent(der)?;
    let mut rest = der.get(start..end)?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (_, end) = extent(rest)?;
        out.push(rest.get(..end)?);
        rest = &rest[end..];
    }
    Some(out)
}

/// Where the value of the first element begins and ends.
fn extent(der: &[u8]) -> Option<(usize, usize)> {
    let first = usize::from(*der.get(1)?);
    let (start, len) = if first < 0x80 {
        (2, first)
    } else {
        let bytes = der.get(2..2 + (first & 0x7f))?;
        (
            2 + bytes.len(),
            bytes.iter().fold(0_usize, |n, b| n << 8 | usize::from(*b)),
        )
    };
    Some((start, start.checked_add(len)?))
}
