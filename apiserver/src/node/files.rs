//! The files that an interpreted container sees: trees in memory, mounted into each other, with owners and modes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Links followed in one path (`MAXSYMLINKS`).
const LINKS: usize = 40;
/// Bytes of a path (`PATH_MAX`): trees are no deeper than those who walk them may go.
const LONGEST: usize = 4096;

/// Why a file operation failed, in the words of the C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    #[error("No such file or directory")]
    NotFound,
    #[error("File exists")]
    Exists,
    #[error("Not a directory")]
    NotDirectory,
    #[error("Is a directory")]
    IsDirectory,
    #[error("Permission denied")]
    Denied,
    #[error("Read-only file system")]
    ReadOnly,
    #[error("Directory not empty")]
    NotEmpty,
    #[error("Too many levels of symbolic links")]
    Loop,
    #[error("File name too long")]
    NameTooLong,
}

/// One file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inode {
    /// Permissions with set-GID and sticky bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) kind: Kind,
}

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File(Vec<u8>),
    Directory(BTreeMap<String, Inode>),
    Link(String),
}

impl Inode {
    pub(crate) fn directory(mode: u32) -> Self {
        Self::root(mode, Kind::Directory(BTreeMap::new()))
    }

    pub(crate) fn file(mode: u32, content: Vec<u8>) -> Self {
        Self::root(mode, Kind::File(content))
    }

    fn root(mode: u32, kind: Kind) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            kind,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }

    pub(crate) fn size(&self) -> usize {
        match &self.kind {
            Kind::File(c) => c.len(),
            Kind::Directory(_) => 4096,
            Kind::Link(t) => t.len(),
        }
    }

    pub(crate) fn at(&self, path: &[String]) -> Option<&Self> {
        path.iter().try_fold(self, |i, name| match &i.kind {
            Kind::Directory(d) => d.get(name),
            _ => None,
        })
    }

    fn at_mut(&mut self, path: &[String]) -> Option<&mut Self> {
        path.iter().try_fold(self, |i, name| match &mut i.kind {
            Kind::Directory(d) => d.get_mut(name),
            _ => None,
        })
    }

    /// Puts a file at a path below, its directories made on the way.
    pub(crate) fn put(&mut self, path: &str, inode: Self) {
        let parts = split(path);
        let Some((last, parents)) = parts.split_last() else {
            return;
        };
        let mut at = self;
        for p in parents {
            let Kind::Directory(d) = &mut at.kind else { return };
            at = d.entry(p.clone()).or_insert_with(|| Self::directory(0o755));
        }
        if let Kind::Directory(d) = &mut at.kind {
            d.insert(last.clone(), inode);
        }
    }

    /// Every inode of the tree.
    pub(crate) fn each(&mut self, f: &mut impl FnMut(&mut Self)) {
        f(self);
        if let Kind::Directory(d) = &mut self.kind {
            d.values_mut().for_each(|i| i.each(f));
        }
    }
}

/// A tree that may be mounted at several places.
#[derive(Debug, Clone)]
pub(crate) struct Volume {
    tree: Arc<Mutex<Inode>>,
    /// What `statfs` says of it.
    pub(crate) kind: &'static str,
}

impl Volume {
    pub(crate) fn new(tree: Inode, kind: &'static str) -> Self {
        Self {
            tree: Arc::new(Mutex::new(tree)),
            kind,
        }
    }

    pub(crate) fn tree(&self) -> MutexGuard<'_, Inode> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A volume, or something in it, at a place.
#[derive(Debug, Clone)]
pub(crate) struct Mount {
    at: Vec<String>,
    volume: Volume,
    sub: Vec<String>,
    read_only: bool,
}

impl Mount {
    pub(crate) fn new(at: &str, volume: Volume, sub: &str, read_only: bool) -> Self {
        Self {
            at: split(at),
            volume,
            sub: split(sub),
            read_only,
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// Whether it may configure the network (`CAP_NET_ADMIN`).
    pub(crate) net_admin: bool,
    /// Whether programs that belong to others gain it nothing (`no_new_privs`).
    pub(crate) no_new_privileges: bool,
}

impl User {
    /// Whether it may do `bit` (4 read, 2 write, 1 search) with an inode.
    pub(crate) fn may(&self, i: &Inode, bit: u32) -> bool {
        let bits = if self.uid == 0 {
            return true;
        } else if self.uid == i.uid {
            i.mode >> 6
        } else if self.gid == i.gid || self.groups.contains(&i.gid) {
            i.mode >> 3
        } else {
            i.mode
        };
        bits & bit != 0
    }
}

/// The file system of one container.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    mounts: Vec<Mount>,
    pub(crate) user: User,
}

/// The parts of a path, without `.` and empty ones.
pub(crate) fn split(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|p| !matches!(*p, "" | "."))
        .map(str::to_owned)
        .collect()
}

/// A path from the directory one is in.
pub(crate) fn absolute(directory: &str, path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{directory}/{path}")
    }
}

impl Files {
    /// Writes a file of the kernel's: whoever's processes see them, they are not theirs.
    pub(crate) fn put_kernel(&self, path: &str, text: &str) {
        if let Some(root) = self.mounts.iter().find(|m| m.at.is_empty()) {
            let inode = Inode::file(0o444, text.as_bytes().to_vec());
            root.volume.tree().put(path.trim_start_matches('/'), inode);
        }
    }

    /// A file system: the root's mount is `/`.
    pub(crate) fn new(mounts: Vec<Mount>, user: User) -> Self {
        let f = Self { mounts, user };
        // Places of mounts are there, as the runtime makes them.
        for m in &f.mounts {
            for n in 1..=m.at.len() {
                let (owner, rel) = f.owner(&m.at[..n - 1]);
                let name = &m.at[n - 1];
                let sees = owner.at.len() < n;
                let mut tree = owner.volume.tree();
                if let Some(Kind::Directory(d)) = tree.at_mut(&rel).map(|i| &mut i.kind)
                    && sees
                {
                    d.entry(name.clone()).or_insert_with(|| Inode::directory(0o755));
                }
            }
        }
        f
    }

    /// The mount a path without links is in, and where in its volume.
    fn owner(&self, path: &[String]) -> (&Mount, Vec<String>) {
        let inside = self.mounts.iter().filter(|m| path.starts_with(&m.at));
        // Of two mounts at one place the later one is seen.
        let m = inside.max_by_key(|m| m.at.len()).unwrap_or(&self.mounts[0]);
        let rest = path.get(m.at.len()..).unwrap_or_default();
        (m, [m.sub.as_slice(), rest].concat())
    }

    fn get(&self, path: &[String]) -> Option<Inode> {
        let (m, rel) = self.owner(path);
        let tree = m.volume.tree();
        let i = tree.at(&rel)?;
        // Whole directories are not copied to be looked at.
        Some(match &i.kind {
            Kind::Directory(d) => Inode {
                kind: Kind::Directory(d.keys().map(|k| (k.clone(), Inode::file(0, Vec::new()))).collect()),
                ..Inode {
                    kind: Kind::Link(String::new()),
                    ..*i
                }
            },
            _ => i.clone(),
        })
    }

    /// The path without links and dots; its last part need not be there.
    fn resolve(&self, path: &str, follow: bool) -> Result<Vec<String>, FileError> {
        let mut at: Vec<String> = Vec::new();
        if path.len() >= LONGEST {
            return Err(FileError::NameTooLong);
        }
        let mut rest: Vec<String> = split(path).into_iter().rev().collect();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            // A link may lead deeper than what is written.
            if at.len() >= LONGEST / 2 {
                return Err(FileError::NameTooLong);
            }
            if part == ".." {
                at.pop();
                continue;
            }
            match self.get(&at) {
                Some(d) if !d.is_directory() => return Err(FileError::NotDirectory),
                Some(d) if !self.user.may(&d, 1) => return Err(FileError::Denied),
                Some(_) => {}
                None => return Err(FileError::NotFound),
            }
            at.push(part);
            if let Some(Inode {
                kind: Kind::Link(to), ..
            }) = self.get(&at)
                && (follow || !rest.is_empty())
            {
                links += 1;
                if links > LINKS {
                    return Err(FileError::Loop);
                }
                if to.starts_with('/') {
                    at.clear();
                } else {
                    at.pop();
                }
                rest.extend(split(&to).into_iter().rev());
            }
        }
        Ok(at)
    }

    /// What is at a path.
    pub(crate) fn stat(&self, path: &str) -> Result<Inode, FileError> {
        self.get(&self.resolve(path, true)?).ok_or(FileError::NotFound)
    }

    /// The kind of file system at a path.
    pub(crate) fn kind(&self, path: &str) -> Result<&'static str, FileError> {
        let at = self.resolve(path, true)?;
        self.get(&at).ok_or(FileError::NotFound)?;
        Ok(self.owner(&at).0.volume.kind)
    }

    /// A file's content.
    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let i = self.stat(path)?;
        match i.kind {
            Kind::File(_) if !self.user.may(&i, 4) => Err(FileError::Denied),
            Kind::File(c) => Ok(c),
            _ => Err(FileError::IsDirectory),
        }
    }

    /// The names in a directory.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let i = self.stat(path)?;
        match i.kind {
            Kind::Directory(_) if !self.user.may(&i, 4) => Err(FileError::Denied),
            Kind::Directory(d) => Ok(d.into_keys().collect()),
            _ => Err(FileError::NotDirectory),
        }
    }

    /// Changes what is at a path without links.
    fn change<T>(&self, at: &[String], f: impl FnOnce(&mut Inode) -> Result<T, FileError>) -> Result<T, FileError> {
        let (m, rel) = self.owner(at);
        if m.read_only {
            return Err(FileError::ReadOnly);
        }
        let mut tree = m.volume.tree();
        f(tree.at_mut(&rel).ok_or(FileError::NotFound)?)
    }

    /// Makes or takes away an entry of the directory that a path is in.
    fn enter<T>(
        &self,
        at: &[String],
        f: impl FnOnce(&mut BTreeMap<String, Inode>, &str, u32) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        let (name, parent) = at.split_last().ok_or(FileError::Exists)?;
        self.change(parent, |d| {
            if !self.user.may(d, 2) {
                return Err(FileError::Denied);
            }
            // Files of a set-GID directory belong to its group.
            let gid = if d.mode & 0o2000 == 0 { self.user.gid } else { d.gid };
            match &mut d.kind {
                Kind::Directory(d) => f(d, name, gid),
                _ => Err(FileError::NotDirectory),
            }
        })
    }

    fn own(&self, mut i: Inode, gid: u32) -> Inode {
        i.uid = self.user.uid;
        i.gid = gid;
        i
    }

    /// Writes a file (or to its end); a new one gets `mode`.
    pub(crate) fn write(&self, path: &str, data: &[u8], append: bool, mode: u32) -> Result<(), FileError> {
        if matches!(path, "/dev/null" | "/dev/stdout" | "/dev/stderr") {
            return Ok(());
        }
        let at = self.resolve(path, true)?;
        if self.get(&at).is_some() {
            return self.change(&at, |i| {
                if !self.user.may(i, 2) {
                    return Err(FileError::Denied);
                }
                let Kind::File(c) = &mut i.kind else {
                    return Err(FileError::IsDirectory);
                };
                if !append {
                    c.clear();
                }
                c.extend_from_slice(data);
                Ok(())
            });
        }
        self.enter(&at, |d, name, gid| {
            d.insert(name.to_owned(), self.own(Inode::file(mode, data.to_vec()), gid));
            Ok(())
        })
    }

    /// Makes a directory, with `parents` those above it too.
    pub(crate) fn make(&self, path: &str, parents: bool) -> Result<(), FileError> {
        if parents {
            if path.len() >= LONGEST {
                return Err(FileError::NameTooLong);
            }
            let parts = split(path);
            for n in 1..=parts.len() {
                match self.make(&format!("/{}", parts[..n].join("/")), false) {
                    Err(FileError::Exists) if self.stat(path).is_ok_and(|i| i.is_directory()) || n < parts.len() => {}
                    done => done?,
                }
            }
            return Ok(());
        }
        let at = self.resolve(path, true)?;
        if self.get(&at).is_some() {
            return Err(FileError::Exists);
        }
        self.enter(&at, |d, name, gid| {
            d.insert(name.to_owned(), self.own(Inode::directory(0o755), gid));
            Ok(())
        })
    }

    /// Makes a symbolic link.
    pub(crate) fn link(&self, to: &str, path: &str) -> Result<(), FileError> {
        let at = self.resolve(path, false)?;
        if self.get(&at).is_some() {
            return Err(FileError::Exists);
        }
        self.enter(&at, |d, name, gid| {
            let link = Inode::root(0o777, Kind::Link(to.to_owned()));
            d.insert(name.to_owned(), self.own(link, gid));
            Ok(())
        })
    }

    /// Takes away a file, or (`all`) a directory with all in it.
    pub(crate) fn remove(&self, path: &str, all: bool) -> Result<(), FileError> {
        let at = self.resolve(path, false)?;
        match self.get(&at).ok_or(FileError::NotFound)?.kind {
            Kind::Directory(_) if !all => return Err(FileError::IsDirectory),
            _ => {}
        }
        self.enter(&at, |d, name, _| d.remove(name).map(|_| ()).ok_or(FileError::NotFound))
    }

    /// Changes permissions.
    pub(crate) fn set_mode(&self, path: &str, mode: u32) -> Result<(), FileError> {
        let at = self.resolve(path, true)?;
        self.change(&at, |i| {
            if self.user.uid != 0 && self.user.uid != i.uid {
                return Err(FileError::Denied);
            }
            i.mode = mode;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(user: User) -> (Files, Volume) {
        let mut config = Inode::directory(0o755);
        config.put("a/b", Inode::file(0o400, b"x".to_vec()));
        let shared = Volume::new(Inode::directory(0o777), "tmpfs");
        let mounts = vec![
            Mount::new("/", Volume::new(Inode::directory(0o755), "overlay"), "", false),
            Mount::new("/etc/config", Volume::new(config, "ext4"), "", true),
            Mount::new("/tmp", shared.clone(), "", false),
        ];
        (Files::new(mounts, user), shared)
    }

    #[test]
    fn what_is_written_is_read() {
        let (f, shared) = files(User::default());
        f.write("/tmp/x", b"1", false, 0o644).unwrap();
        f.write("/tmp/x", b"2", true, 0o644).unwrap();
        f.link("x", "/tmp/y").unwrap();
        assert_eq!(f.read("/tmp/../tmp/y"), Ok(b"12".to_vec()));
        assert!(shared.tree().at(&split("x")).is_some());
        assert_eq!(f.kind("/tmp/x"), Ok("tmpfs"));
        assert_eq!(f.list("/"), Ok(vec!["etc".to_owned(), "tmp".to_owned()]));
    }

    #[test]
    fn refusals() {
        let (root, _) = files(User::default());
        let other = User {
            uid: 1000,
            gid: 1000,
            groups: vec![],
            ..User::default()
        };
        let (user, _) = files(other);
        for (done, expected) in [
            (root.read("/nope").map(|_| ()), FileError::NotFound),
            (root.read("/tmp").map(|_| ()), FileError::IsDirectory),
            (root.write("/etc/config/n", b"", false, 0o644), FileError::ReadOnly),
            (user.read("/etc/config/a/b").map(|_| ()), FileError::Denied),
            (user.write("/n", b"", false, 0o644), FileError::Denied),
            (root.make("/tmp", false), FileError::Exists),
            (root.make(&"/a".repeat(100_000), true), FileError::NameTooLong),
            (
                root.write(&format!("/{}", "a".repeat(4096)), b"", false, 0o644),
                FileError::NameTooLong,
            ),
            (root.remove("/tmp/z", false), FileError::NotFound),
        ] {
            assert_eq!(done, Err(expected));
        }
        root.make("/tmp/p/q", true).unwrap();
        assert_eq!(root.remove("/tmp/p", false), Err(FileError::IsDirectory));
        assert_eq!(root.remove("/tmp/p", true), Ok(()));
        root.link("/tmp/l", "/tmp/l").unwrap();
        assert_eq!(root.stat("/tmp/l"), Err(FileError::Loop));
    }
}
