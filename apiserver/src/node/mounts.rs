//! What an interpreted container sees: its image's files, the pod's volumes where it mounts them, and who it is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::env;
use super::files::{Files, Inode, Mount, User, Volume, split};
use super::images;
use super::kernel;
use super::volumes;
use crate::controllers::object::Object;
use crate::schema::quote;

/// Where a container leaves its last words.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// The volumes of one pod, as its host has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodVolumes {
    /// By the name in the pod.
    pub(crate) by_name: BTreeMap<String, Volume>,
    /// `/etc/hosts`.
    pub(crate) hosts: Option<Volume>,
    /// `/etc/resolv.conf`.
    pub(crate) resolv_conf: Option<Volume>,
}

/// A container's files, and the file of its last words.
pub(crate) struct ContainerFiles {
    pub(crate) files: Files,
    pub(crate) last_words: Volume,
}

/// Who a container's processes are.
pub(crate) fn user(pod: &Value, container: &Value) -> User {
    let of = |key: &str| {
        let own = container.int(&format!("/securityContext/{key}"));
        own.or_else(|| pod.int(&format!("/spec/securityContext/{key}")))
    };
    let number = |n: i64| u32::try_from(n).unwrap_or(0);
    let extra = pod.items("/spec/securityContext/supplementalGroups").iter();
    let groups = extra
        .filter_map(Value::as_i64)
        .chain(pod.int("/spec/securityContext/fsGroup"));
    User {
        uid: number(of("runAsUser").unwrap_or(0)),
        gid: number(of("runAsGroup").unwrap_or(0)),
        groups: groups.map(number).collect(),
        net_admin: kernel::may(container, "NET_ADMIN"),
        no_new_privileges: kernel::gains_nothing(container),
    }
}

/// The root of a container: its image's files, and its name.
fn root(image: &str, hostname: &str) -> Inode {
    let mut root = images::tree(image);
    root.put("etc/hostname", Inode::file(0o644, format!("{hostname}\n").into_bytes()));
    root
}

/// Where in its volume a mount begins. An error is the message of `CreateContainerConfigError`.
fn sub_path(mount: &Value, environment: &BTreeMap<String, String>) -> Result<String, String> {
    let expression = mount.text("/subPathExpr");
    if expression.is_empty() {
        return Ok(mount.text("/subPath").to_owned());
    }
    let path = env::expand(expression, environment);
    if path.contains("$(") {
        return Err(format!("missing value for {}", quote(expression)));
    }
    if path.starts_with('/') {
        return Err(format!("subPath {} must not be an absolute path", quote(&path)));
    }
    if path.split('/').any(|p| p == "..") {
        return Err(format!("subPath {} must not contain '..'", quote(&path)));
    }
    Ok(path)
}

/// The files of a container. An error is the message of `CreateContainerConfigError`.
pub(crate) fn container_files(
    pod: &Value,
    container: &Value,
    node: &str,
    environment: &BTreeMap<String, String>,
    volumes: &PodVolumes,
    host: &Volume,
) -> Result<ContainerFiles, String> {
    let user = user(pod, container);
    let non_root = container
        .pointer("/securityContext/runAsNonRoot")
        .and_then(Value::as_bool);
    if non_root.unwrap_or_else(|| pod.flag("/spec/securityContext/runAsNonRoot")) && user.uid == 0 {
        return Err("container has runAsNonRoot and image will run as root".into());
    }
    let root = Volume::new(root(container.text("/image"), volumes::hostname(pod, node)), "61267");
    let read_only = container.flag("/securityContext/readOnlyRootFilesystem");
    let resources = container.get("resources").cloned().unwrap_or_default();
    let mut mounts = vec![Mount::new("/", root, "", read_only)];
    for (path, made) in [
        ("/etc/hosts", &volumes.hosts),
        ("/etc/resolv.conf", &volumes.resolv_conf),
    ] {
        mounts.extend(made.as_ref().map(|v| Mount::new(path, v.clone(), "", false)));
    }
    for m in container.items("/volumeMounts") {
        let name = m.text("/name");
        let Some(spec) = pod.items("/spec/volumes").iter().find(|v| v.text("/name") == name) else {
            return Err(format!(
                "cannot find volume {} to mount into container {}",
                quote(name),
                quote(container.text("/name"))
            ));
        };
        let sub = sub_path(m, environment)?;
        let content = volumes::is_content(spec);
        let read_only = m.flag("/readOnly") || content || spec.get("image").is_some();
        let at = m.text("/mountPath");
        if let Some(path) = spec.pointer("/hostPath/path").and_then(Value::as_str) {
            let path = format!("{path}/{sub}");
            if host.tree().at(&split(&path)).is_none() {
                host.tree().put(&path, Inode::directory(0o755));
            }
            mounts.push(Mount::new(at, host.clone(), &path, read_only));
            continue;
        }
        let Some(volume) = volumes.by_name.get(name) else {
            return Err(format!(
                "cannot find volume {} to mount into container {}",
                quote(name),
                quote(container.text("/name"))
            ));
        };
        if !sub.is_empty() && volume.tree().at(&split(&sub)).is_none() {
            let mut made = Inode::directory(0o750);
            (made.uid, made.gid) = (0, user.groups.last().copied().unwrap_or(0));
            made.mode = volume.tree().mode & 0o2777;
            volume.tree().put(&sub, made);
        }
        // What is mounted of such a volume by a path stays what it was when it was mounted.
        let mount = match volume.tree().at(&split(&sub)) {
            Some(part) if content && !sub.is_empty() => {
                Mount::new(at, Volume::new(part.clone(), volume.kind), "", true)
            }
            _ => Mount::new(at, volume.clone(), &sub, read_only),
        };
        mounts.push(mount);
    }
    let path = match container.text("/terminationMessagePath") {
        "" => TERMINATION_LOG,
        p => p,
    };
    let last_words = Volume::new(Inode::file(0o666, Vec::new()), "61267");
    mounts.push(Mount::new(path, last_words.clone(), "", false));
    let files = Files::new(mounts, user);
    kernel::write(&files, &resources);
    kernel::write_sysctls(&files, pod);
    Ok(ContainerFiles { files, last_words })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn users() {
        let pod = json!({"spec": {"securityContext": {"runAsUser": 1000, "fsGroup": 7, "supplementalGroups": [5]}}});
        let c = json!({"securityContext": {"runAsUser": 1001}});
        let u = user(&pod, &c);
        assert_eq!((u.uid, u.gid, u.groups), (1001, 0, vec![5, 7]));
    }

    #[test]
    fn sub_paths() {
        let env = BTreeMap::from([("A".to_owned(), "x".to_owned()), ("B".to_owned(), "/etc".to_owned())]);
        for (expression, expected) in [
            ("$(A)/y", Some("x/y")),
            ("$(B)", None),
            ("../$(A)", None),
            ("$(NOPE)", None),
        ] {
            let found = sub_path(&json!({"subPathExpr": expression}), &env).ok();
            assert_eq!(found.as_deref(), expected, "{expression}");
        }
    }

    #[test]
    fn a_container_sees_its_mounts() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"volumes": [{"name": "e", "emptyDir": {}}]}});
        let c = json!({"name": "c", "volumeMounts": [{"name": "e", "mountPath": "/data", "subPath": "a/b"}]});
        let volumes = PodVolumes {
            by_name: BTreeMap::from([("e".to_owned(), Volume::new(Inode::directory(0o777), "tmpfs"))]),
            hosts: Some(Volume::new(Inode::file(0o644, b"h".to_vec()), "tmpfs")),
            resolv_conf: None,
        };
        let host = Volume::new(Inode::directory(0o755), "61267");
        let made = container_files(&pod, &c, "n", &BTreeMap::new(), &volumes, &host).unwrap();
        made.files.write("/data/f", b"1", false, 0o644).unwrap();
        made.files.write("/dev/termination-log", b"bye", false, 0o644).unwrap();
        assert_eq!(made.files.read("/etc/hosts"), Ok(b"h".to_vec()));
        assert!(volumes.by_name["e"].tree().at(&split("a/b/f")).is_some());
        assert!(matches!(&made.last_words.tree().kind, crate::node::files::Kind::File(b) if b == b"bye"));
    }
}
