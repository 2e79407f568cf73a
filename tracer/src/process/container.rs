//! The container that a process runs in, told from its control group and its mounts; no engine is asked.

use std::fs;

use super::shown_as;

/// Characters of a container's id, by the OCI's engines.
const ID_CHARACTERS: usize = 64;

/// The id of the container; `None` for a process in none, or where nothing tells.
#[must_use]
pub fn container_id(pid: u32) -> Option<String> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", shown_as(pid)));
    let groups = read("cgroup").unwrap_or_default();
    let by_group = groups.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        path.rsplit('/').find_map(id_of_group)
    });
    // Seen from within its own namespace, a group has no name.
    by_group.or_else(|| {
        read("mountinfo")
            .ok()
            .and_then(|mounts| id_of_mounts(&mounts))
    })
}

/// The id in a group's name: `ID`, `docker-ID.scope`, `cri-containerd-ID.scope` and the like.
fn id_of_group(name: &str) -> Option<String> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit(['-', ':']).next()?;
    is_id(id).then(|| id.to_owned())
}

/// Engines mount files of theirs into each container: `…/containers/ID/hostname`.
fn id_of_mounts(mounts: &str) -> Option<String> {
    mounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let (source, place) = (fields.get(3)?, fields.get(4)?);
        if !["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"].contains(place) {
            return None;
        }
        let id = source.split('/').find(|part| is_id(part))?;
        Some(id.to_owned())
    })
}

fn is_id(text: &str) -> bool {
    text.len() == ID_CHARACTERS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7be92808767a667f35c8505cbf40d14e931ef6db5b0210329cf193b15ba9d605";

    #[test]
    fn a_group_names_its_container() {
        for name in [
            ID.to_owned(),
            format!("docker-{ID}.scope"),
            format!("libpod-{ID}.scope"),
            format!("cri-containerd-{ID}.scope"),
            format!("kubepods-burstable-pod0123.slice:cri-containerd:{ID}"),
        ] {
            assert_eq!(id_of_group(&name).as_deref(), Some(ID), "{name}");
        }
        for name in ["", "user.slice", "session-3.scope", &ID[1..]] {
            assert_eq!(id_of_group(name), None, "{name}");
        }
    }

    #[test]
    fn mounts_name_it_where_the_group_does_not() {
        let line = |source: &str, place: &str| {
            format!("517 498 254:1 {source} {place} rw,relatime - ext4 /dev/sda1 rw\n")
        };
        let ours = line("/", "/")
            + &line(
                &format!("/lib/docker/containers/{ID}/hostname"),
                "/etc/hostname",
            );
        assert_eq!(id_of_mounts(&ours).as_deref(), Some(ID));
        // A volume of another one.
        let foreign = line(&format!("/lib/docker/containers/{ID}/data"), "/data");
        assert_eq!(id_of_mounts(&foreign), None);
    }

    #[test]
    fn a_process_that_is_gone_is_in_none() {
        assert_eq!(container_id(u32::MAX - 1), None);
    }
}
