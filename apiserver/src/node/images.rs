//! The small images whose content is known: what they run, and their files as far as programs that are written again
//! here look at them.

use super::files::Inode;

/// A file of an image: its path, its mode and its text.
type File = (&'static str, u32, &'static str);

/// An image: how its name starts, its entry point and its command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image {
    pub(crate) prefix: &'static str,
    pub(crate) entry: &'static [&'static str],
    pub(crate) command: &'static [&'static str],
    /// Beside those of every small image.
    files: &'static [&'static [File]],
}

/// Of Alpine Linux.
const ALPINE: &[File] = &[(
    "etc/os-release",
    0o644,
    "NAME=\"Alpine Linux\"\nID=alpine\nPRETTY_NAME=\"Alpine Linux\"\nHOME_URL=\"https://alpinelinux.org/\"\n",
)];
/// What the image `agnhost` has beside that: a server's readiness is broken by taking the one away. The texts are
/// stand-ins; no server of ours is given them.
const AGNHOST: &[File] = &[
    ("localhost.crt", 0o644, "localhost.crt\n"),
    ("localhost.key", 0o644, "localhost.key\n"),
];
/// The two of the update demo are `agnhost` with a page of their own; their pictures are not here.
const NAUTILUS: &[File] = &[("data.json", 0o644, "{\n  \"image\": \"nautilus.jpg\"\n}\n")];
const KITTEN: &[File] = &[("data.json", 0o644, "{\n  \"image\": \"kitten.jpg\"\n}\n")];
/// A program that says who it is, with the set-user-ID and set-group-ID bits of root.
const NNP: &[File] = &[("usr/local/bin/nnp", 0o6755, "")];

const IMAGES: [Image; 11] = [
    Image {
        prefix: "registry.k8s.io/e2e-test-images/agnhost:",
        entry: &["/agnhost"],
        command: &["pause"],
        files: &[ALPINE, AGNHOST],
    },
    Image {
        prefix: "registry.k8s.io/e2e-test-images/nautilus:",
        entry: &["/agnhost"],
        command: &["test-webserver"],
        files: &[ALPINE, AGNHOST, NAUTILUS],
    },
    Image {
        prefix: "registry.k8s.io/e2e-test-images/kitten:",
        entry: &["/agnhost"],
        command: &["test-webserver"],
        files: &[ALPINE, AGNHOST, KITTEN],
    },
    Image {
        prefix: "registry.k8s.io/e2e-test-images/sample-apiserver:",
        entry: &["/sample-apiserver"],
        command: &[],
        files: &[],
    },
    Image {
        prefix: "registry.k8s.io/etcd:",
        entry: &[],
        command: &["etcd"],
        files: &[],
    },
    Image {
        prefix: "registry.k8s.io/e2e-test-images/nonewprivs:",
        entry: &[],
        command: &["nnp"],
        files: &[NNP],
    },
    Image {
        prefix: "registry.k8s.io/e2e-test-images/glibc-dns-testing:",
        entry: &[],
        command: &["sh"],
        files: &[],
    },
    Image {
        prefix: "registry.k8s.io/e2e-test-images/busybox:",
        entry: &[],
        command: &["sh"],
        files: &[],
    },
    Image {
        prefix: "docker.io/library/busybox:",
        entry: &[],
        command: &["sh"],
        files: &[],
    },
    Image {
        prefix: "busybox:",
        entry: &[],
        command: &["sh"],
        files: &[],
    },
    Image {
        prefix: "registry.k8s.io/pause:",
        entry: &["/pause"],
        command: &[],
        files: &[],
    },
];

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = Image> {
    IMAGES.into_iter()
}

/// The image of a reference, if its content is known.
pub(crate) fn find(reference: &str) -> Option<Image> {
    all().find(|i| reference.starts_with(i.prefix))
}

/// The files of an image.
pub(crate) fn tree(reference: &str) -> Inode {
    let mut root = Inode::directory(0o755);
    for dir in ["bin", "dev", "home", "proc", "root", "run", "sys", "usr", "var"] {
        root.put(dir, Inode::directory(0o755));
    }
    root.put("tmp", Inode::directory(0o1777));
    root.put("dev/null", Inode::file(0o666, Vec::new()));
    let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
    let small: [File; 2] = [
        ("etc/passwd", 0o644, users),
        ("etc/group", 0o644, "root:x:0:\nnobody:x:65534:\n"),
    ];
    let own = find(reference).map_or(&[] as &[_], |i| i.files);
    for (path, mode, text) in small.iter().chain(own.iter().copied().flatten()) {
        root.put(path, Inode::file(*mode, text.as_bytes().to_vec()));
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::files::split;

    #[test]
    fn images_have_their_files() {
        for (reference, path, has) in [
            ("registry.k8s.io/e2e-test-images/kitten:1.8", "data.json", true),
            ("registry.k8s.io/e2e-test-images/kitten:1.8", "etc/os-release", true),
            (
                "registry.k8s.io/e2e-test-images/busybox:1.37.0-1",
                "etc/os-release",
                false,
            ),
            ("example.com/other:1", "etc/passwd", true),
        ] {
            assert_eq!(tree(reference).at(&split(path)).is_some(), has, "{reference} {path}");
        }
        assert!(find("example.com/other:1").is_none());
    }
}
