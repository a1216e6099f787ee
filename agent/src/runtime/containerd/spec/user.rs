//! The user that a container runs as: `user`, `user:group`, names or numbers, looked up in the image's own files.
//!
//! Pure: the text of `/etc/passwd` and `/etc/group` comes in.

/// A user as the kernel knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::runtime::containerd) struct User {
    pub(in crate::runtime::containerd) uid: u32,
    pub(in crate::runtime::containerd) gid: u32,
    pub(in crate::runtime::containerd) additional_gids: Vec<u32>,
}

/// A name that the image does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::runtime::containerd) enum UserError {
    /// No such user.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// No such group.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
}

/// Resolves `text`; empty means root. A number needs no entry; a group that is not given is the user's own, and then
/// the groups that list the user as a member are added.
pub(in crate::runtime::containerd) fn resolve(text: &str, passwd: &str, group: &str) -> Result<User, UserError> {
    let (user, explicit_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    // A name that looks like a number is looked up as a name first, as Docker does.
    let entries = || passwd.lines().filter_map(passwd_entry);
    let entry = entries()
        .find(|e| e.0 == user)
        .or_else(|| entries().find(|e| Some(e.1) == number));
    let (name, uid, own_gid) = match (entry, number) {
        (Some((name, uid, gid)), _) => (Some(name), uid, gid),
        (None, Some(uid)) => (None, uid, 0),
        (None, None) => return Err(UserError::NoUser(user.to_owned())),
    };
    if let Some(wanted) = explicit_group {
        let gid = group
            .lines()
            .filter_map(group_entry)
            .find(|(name, gid, _)| *name == wanted || wanted.parse() == Ok(*gid))
            .map(|(_, gid, _)| gid)
            .or_else(|| wanted.parse().ok())
            .ok_or_else(|| UserError::NoGroup(wanted.to_owned()))?;
        return Ok(User {
            uid,
            gid,
            additional_gids: Vec::new(),
        });
    }
    let member = |(_, gid, members): (&str, u32, &str)| {
        let listed = name.is_some_and(|name| members.split(',').any(|m| m.trim() == name));
        (listed && gid != own_gid).then_some(gid)
    };
    let additional_gids = group.lines().filter_map(group_entry).filter_map(member).collect();
    Ok(User {
        uid,
        gid: own_gid,
        additional_gids,
    })
}

/// (name, uid, gid)
fn passwd_entry(line: &str) -> Option<(&str, u32, u32)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    Some((name, fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// (name, gid, members)
fn group_entry(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    Some((name, fields.nth(1)?.parse().ok()?, fields.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:100:101:web:/:/bin/sh\n1000:x:7:8::/:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:101:\nlogs:x:50:web,other\nwheel:x:10:root\n";

    fn user(uid: u32, gid: u32, additional: &[u32]) -> Result<User, UserError> {
        Ok(User {
            uid,
            gid,
            additional_gids: additional.to_vec(),
        })
    }

    #[test]
    fn user_in_its_forms_is_resolved_as_docker_does() {
        for (text, expected) in [
            ("", user(0, 0, &[10])),
            ("web", user(100, 101, &[50])),
            ("100", user(100, 101, &[50])),
            ("web:logs", user(100, 50, &[])),
            ("web:7", user(100, 7, &[])),
            ("2000", user(2000, 0, &[])),
            ("2000:3000", user(2000, 3000, &[])),
            ("1000", user(7, 8, &[])),
            (":logs", user(0, 50, &[])),
            ("nobody", Err(UserError::NoUser("nobody".to_owned()))),
            ("web:nogroup", Err(UserError::NoGroup("nogroup".to_owned()))),
        ] {
            assert_eq!(resolve(text, PASSWD, GROUP), expected, "{text:?}");
        }
    }

    #[test]
    fn user_in_an_image_without_files_needs_a_number() {
        assert_eq!(resolve("", "", ""), user(0, 0, &[]));
        assert_eq!(resolve("5:6", "", ""), user(5, 6, &[]));
        assert!(resolve("web", "", "").is_err());
    }
}
