//! The volumes of pods with interpreted containers (`pkg/volume/{configmap,secret,downwardapi,projected,emptydir}`).

use std::collections::BTreeMap;

use base64::Engine;
use serde_json::{Value, json};

use super::NodeOptions;
use super::env::{self, Addresses};
use super::files::{Inode, Kind, Volume};
use super::images;
use super::rest::Rest;
use super::status::Named;
use crate::controllers::object::Object;

/// Kinds that have content of the API; they are read-only and follow it.
const CONTENT: [&str; 4] = ["configMap", "secret", "downwardAPI", "projected"];
/// Mode of files where nothing is said.
const MODE: i64 = 0o644;

/// What volumes are made from.
pub(crate) struct Sources<'a> {
    pub(crate) rest: &'a Rest,
    pub(crate) node: &'a NodeOptions,
    pub(crate) pod: &'a Value,
    pub(crate) addresses: Addresses<'a>,
}

/// Whether all volumes of a pod are of kinds made here.
pub(crate) fn are_known(pod: &Value) -> bool {
    pod.items("/spec/volumes")
        .iter()
        .all(|v| is_content(v) || v.get("emptyDir").is_some() || v.get("hostPath").is_some() || is_known_image(v))
}

/// Whether a volume is an image whose content is known.
fn is_known_image(volume: &Value) -> bool {
    volume.get("image").is_some() && images::find(volume.text("/image/reference")).is_some()
}

/// Whether a volume has content of the API.
pub(crate) fn is_content(volume: &Value) -> bool {
    CONTENT.iter().any(|k| volume.get(k).is_some())
}

/// A pod's host name.
pub(crate) fn hostname<'a>(pod: &'a Value, node: &'a str) -> &'a str {
    if pod.flag("/spec/hostNetwork") {
        return node;
    }
    let name = match pod.text("/spec/hostname") {
        "" => pod.name(),
        h => h,
    };
    name.get(..63).unwrap_or(name).trim_end_matches(['-', '.'])
}

/// `/etc/hosts` as the kubelet makes it.
pub(crate) fn hosts(pod: &Value, node: &str, ip: &str) -> String {
    let mut text = if pod.flag("/spec/hostNetwork") {
        format!("# Kubernetes-managed hosts file (host network).\n{HOST_HOSTS}")
    } else {
        let name = hostname(pod, node);
        let own = match pod.text("/spec/subdomain") {
            "" => name.to_owned(),
            sub => format!("{name}.{sub}.{}.svc.cluster.local\t{name}", pod.namespace()),
        };
        format!(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n{ip}\t{own}\n"
        )
    };
    let aliases = pod.items("/spec/hostAliases");
    if !aliases.is_empty() {
        text += "\n# Entries added by HostAliases.\n";
    }
    for a in aliases {
        let names: Vec<&str> = a.items("/hostnames").iter().filter_map(Value::as_str).collect();
        text += &format!("{}\t{}\n", a.text("/ip"), names.join("\t"));
    }
    text
}

/// `/etc/hosts` of a node.
pub(crate) const HOST_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost\n";

type Content = BTreeMap<String, Inode>;

impl Sources<'_> {
    /// A new volume. An error is why it cannot be mounted.
    pub(crate) async fn make(&self, volume: &Value) -> Result<Volume, String> {
        if let Some(e) = volume.get("emptyDir") {
            let kind = if e.text("/medium") == "Memory" {
                "tmpfs"
            } else {
                "61267"
            };
            let mut tree = Inode::directory(0o777);
            self.own(&mut tree, 0o660);
            return Ok(Volume::new(tree, kind));
        }
        if volume.get("image").is_some() {
            return Ok(Volume::new(images::tree(volume.text("/image/reference")), "61267"));
        }
        Ok(Volume::new(self.content(volume).await?, "tmpfs"))
    }

    /// The content of a volume as the API has it now.
    pub(crate) async fn content(&self, volume: &Value) -> Result<Inode, String> {
        let failed = |e: String| {
            format!(
                "MountVolume.SetUp failed for volume {} : {e}",
                crate::schema::quote(volume.name_of())
            )
        };
        let mut files = Content::new();
        for kind in CONTENT {
            let Some(source) = volume.get(kind) else { continue };
            let mode = source.int("/defaultMode").unwrap_or(MODE);
            let sources = match kind {
                "projected" => source.items("/sources").to_vec(),
                // The name of a secret is called otherwise here.
                "secret" => {
                    let mut s = source.clone();
                    s["name"] = source["secretName"].clone();
                    vec![json!({"secret": s})]
                }
                _ => vec![json!({kind: source})],
            };
            for s in &sources {
                files.extend(self.source(s, mode).await.map_err(failed)?);
            }
        }
        let mut tree = Inode::directory(0o777);
        for (path, f) in files {
            tree.put(&path, f);
        }
        self.own(&mut tree, 0o440);
        Ok(tree)
    }

    /// The files of one source of a projected volume.
    async fn source(&self, source: &Value, mode: i64) -> Result<Content, String> {
        if let Some(s) = source.get("configMap") {
            return self.keyed("configmaps", s, mode).await;
        }
        if let Some(s) = source.get("secret") {
            return self.keyed("secrets", s, mode).await;
        }
        let mut files = Content::new();
        if let Some(s) = source.get("downwardAPI") {
            for item in s.items("/items") {
                let text = match item.pointer("/fieldRef/fieldPath").and_then(Value::as_str) {
                    Some(path) => env::field(self.pod, path, &self.addresses)?,
                    None => {
                        let field = item.get("resourceFieldRef").unwrap_or(&Value::Null);
                        let name = field.text("/containerName");
                        let container =
                            env::container(self.pod, name).ok_or_else(|| format!("container {name} not found"))?;
                        env::resource(container, field, &self.node.capacity)?
                    }
                };
                files.insert(
                    item.text("/path").to_owned(),
                    file(item.int("/mode").unwrap_or(mode), text.into_bytes()),
                );
            }
        }
        if let Some(s) = source.get("serviceAccountToken") {
            let token = self.token(s).await?;
            // Only its owner reads a token, when there is one.
            let fs_group = self.pod.int("/spec/securityContext/fsGroup");
            let user = self.pod.int("/spec/securityContext/runAsUser");
            let mode = if fs_group.is_some() || user.is_some() {
                0o600
            } else {
                mode
            };
            let mut f = file(mode, token.into_bytes());
            f.uid = number(user);
            files.insert(s.text("/path").to_owned(), f);
        }
        Ok(files)
    }

    /// The files of a ConfigMap or Secret.
    async fn keyed(&self, kind: &str, source: &Value, mode: i64) -> Result<Content, String> {
        let (namespace, name) = (self.pod.namespace(), source.name_of());
        let optional = source.flag("/optional");
        let path = format!("/api/v1/namespaces/{namespace}/{kind}/{name}");
        let object = match self.rest.get(&path).await {
            Ok(o) => o,
            Err(e) if e.code() == 404 && optional => return Ok(Content::new()),
            Err(e) if e.code() == 404 => return Err(format!("{} \"{name}\" not found", kind.trim_end_matches('s'))),
            Err(e) => return Err(e.to_string()),
        };
        let decode = |v: &Value| base64::engine::general_purpose::STANDARD.decode(v.as_str()?).ok();
        let map = |key: &str| object.get(key).and_then(Value::as_object).into_iter().flatten();
        let mut data: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for (k, v) in map("data") {
            let bytes = if kind == "secrets" {
                decode(v)
            } else {
                v.as_str().map(|s| s.as_bytes().to_vec())
            };
            data.insert(k, bytes.unwrap_or_default());
        }
        data.extend(map("binaryData").filter_map(|(k, v)| Some((k.as_str(), decode(v)?))));
        let items = source.items("/items");
        if items.is_empty() {
            return Ok(data.into_iter().map(|(k, v)| (k.to_owned(), file(mode, v))).collect());
        }
        let mut files = Content::new();
        for i in items {
            match data.get(i.text("/key")) {
                Some(d) => {
                    files.insert(
                        i.text("/path").to_owned(),
                        file(i.int("/mode").unwrap_or(mode), d.clone()),
                    );
                }
                None if optional => {}
                None => return Err("references non-existent config key: ".to_owned() + i.text("/key")),
            }
        }
        Ok(files)
    }

    async fn token(&self, source: &Value) -> Result<String, String> {
        let account = match self.pod.text("/spec/serviceAccountName") {
            "" => "default",
            a => a,
        };
        let audience = source.text("/audience");
        let audiences: Vec<&str> = Some(audience).filter(|a| !a.is_empty()).into_iter().collect();
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/{account}/token",
            self.pod.namespace()
        );
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": audiences, "expirationSeconds": source.int("/expirationSeconds").unwrap_or(3600),
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": self.pod.name(), "uid": self.pod.uid()}}});
        let answer = self.rest.post(&path, &body).await.map_err(|e| e.to_string())?;
        Ok(answer.text("/status/token").to_owned())
    }

    /// The pod's group owns what is in its volumes (`SetVolumeOwnership`).
    fn own(&self, tree: &mut Inode, mask: u32) {
        let Some(group) = self.pod.int("/spec/securityContext/fsGroup") else {
            return;
        };
        tree.each(&mut |i| {
            i.gid = number(Some(group));
            i.mode |= match i.kind {
                Kind::Directory(_) => mask | 0o2110,
                _ => mask,
            };
        });
    }
}

fn number(n: Option<i64>) -> u32 {
    n.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

fn file(mode: i64, data: Vec<u8>) -> Inode {
    Inode::file(number(Some(mode)), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_a_pod() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n"},
            "spec": {"hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}});
        let text = hosts(&pod, "node", "10.0.0.2");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(
            text.ends_with("10.0.0.2\tp\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"),
            "{text}"
        );
        let pod = json!({"spec": {"hostNetwork": true}});
        assert!(hosts(&pod, "node", "").starts_with("# Kubernetes-managed hosts file (host network).\n"));
    }

    #[test]
    fn known_kinds() {
        let pod = |volume: Value| json!({"spec": {"volumes": [volume]}});
        assert!(are_known(&pod(json!({"name": "a", "emptyDir": {}}))));
        assert!(are_known(&pod(json!({"name": "a", "projected": {"sources": []}}))));
        assert!(!are_known(&pod(
            json!({"name": "a", "persistentVolumeClaim": {"claimName": "c"}})
        )));
    }
}
