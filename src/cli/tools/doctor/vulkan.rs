//! The Vulkan loader, and the drivers that it finds by their files.

use super::Finding;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// The loader's library.
const LOADER: &str = "libvulkan.so.1";

/// Checks the loader and the drivers' files.
pub(super) fn check() -> Vec<Finding> {
    let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let install = install(&os);
    let loader = match loads(LOADER) {
        Ok(()) => Finding::ok("loader", format!("the Vulkan loader, {LOADER}")),
        Err(why) => Finding::failed(
            "loader",
            format!("there is no Vulkan loader: {why}"),
            &install,
        ),
    };
    let variables: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let mut findings = vec![loader];
    findings.extend(drivers(&variables, &install, loads));
    findings.extend(nodes(Path::new("/dev/dri")));
    findings
}

/// Loads a library, and lets it go again.
fn loads(library: &str) -> Result<(), String> {
    let name = CString::new(library).map_err(|e| e.to_string())?;
    // SAFETY: the name ends with a zero; libraries of drivers are made to be loaded, and the loader
    // does the same.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    if handle.is_null() {
        // SAFETY: the message is this thread's until its next call.
        let why = unsafe {
            let why = libc::dlerror();
            match why.is_null() {
                true => "no reason is given".into(),
                false => std::ffi::CStr::from_ptr(why).to_string_lossy().into_owned(),
            }
        };
        return Err(why);
    }
    // SAFETY: the handle is the one above.
    unsafe { libc::dlclose(handle) };
    Ok(())
}

/// Returns how a loader and a software driver are installed on the system that this file names.
fn install(os_release: &str) -> String {
    let field = |name: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let ids = format!("{} {}", field("ID="), field("ID_LIKE="));
    let is = |names: &[&str]| ids.split_whitespace().any(|id| names.contains(&id));
    let command = if is(&["debian", "ubuntu"]) {
        "apt-get install -y --no-install-recommends libvulkan1 mesa-vulkan-drivers"
    } else if is(&["fedora", "rhel"]) {
        "dnf install -y vulkan-loader mesa-vulkan-drivers"
    } else if is(&["arch"]) {
        "pacman -S --needed vulkan-icd-loader vulkan-swrast"
    } else if is(&["alpine"]) {
        "apk add vulkan-loader mesa-vulkan-swrast"
    } else if is(&["suse", "opensuse"]) {
        "zypper install libvulkan1 Mesa-vulkan-device-select libvulkan_lvp"
    } else {
        "your system's packages of the Vulkan loader and of Mesa's Vulkan drivers"
    };
    format!(
        "install the GPU's driver, or Mesa's, which has one in software too: {command} (as root; \
         docs/troubleshooting.md, No adapter)"
    )
}

/// Returns the folders in which the loader looks for drivers' files, and files named one by one,
/// as <https://github.com/KhronosGroup/Vulkan-Loader> has it.
fn places(variables: &BTreeMap<String, String>) -> (Vec<PathBuf>, Option<&'static str>) {
    let get = |name: &str| variables.get(name).filter(|v| !v.is_empty());
    let list = |text: &String| text.split(':').map(PathBuf::from).collect::<Vec<_>>();
    for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        if let Some(files) = variables.get(name) {
            return (list(files), Some(name));
        }
    }
    let home = get("HOME").map(PathBuf::from);
    let below_home = |at: &str| home.as_ref().map(|home| home.join(at));
    let bases = get("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| below_home(".config"))
        .into_iter()
        .chain(get("XDG_CONFIG_DIRS").map_or_else(|| vec!["/etc/xdg".into()], list))
        .chain(["/usr/local/etc".into(), "/etc".into()])
        .chain(
            get("XDG_DATA_HOME")
                .map(PathBuf::from)
                .or_else(|| below_home(".local/share")),
        )
        .chain(get("XDG_DATA_DIRS").map_or_else(
            || vec!["/usr/local/share".into(), "/usr/share".into()],
            list,
        ));
    let mut all: Vec<PathBuf> = get("VK_ADD_DRIVER_FILES").map(list).unwrap_or_default();
    all.extend(bases.map(|base: PathBuf| base.join("vulkan/icd.d")));
    let mut seen = Vec::new();
    all.retain(|place| {
        let new = !seen.contains(place);
        seen.push(place.clone());
        new
    });
    (all, None)
}

/// Returns the drivers' files at a place: those of a folder by name, or the file itself.
fn files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    files
}

/// Returns the library that a driver's file names.
///
/// # Errors
/// Says what is wrong with the file.
fn library(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("cannot be read: {e}"))?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| format!("is no JSON: {e}"))?;
    let named = json["ICD"]["library_path"].as_str();
    let named = named.ok_or("names no library (ICD.library_path)")?;
    Ok(match (named.contains('/'), file.parent()) {
        (true, Some(folder)) => folder.join(named).to_string_lossy().into_owned(),
        _ => named.to_owned(),
    })
}

/// Checks the drivers' files. `loads` says whether a library can be loaded.
fn drivers(
    variables: &BTreeMap<String, String>,
    install: &str,
    loads: impl Fn(&str) -> Result<(), String>,
) -> Vec<Finding> {
    let (places, set) = places(variables);
    let files: Vec<PathBuf> = places.iter().flat_map(|place| files(place)).collect();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for file in &files {
        match library(file).and_then(|library| loads(&library)) {
            Ok(()) => good.push(file.display().to_string()),
            Err(why) => bad.push(Finding::warning(
                "drivers",
                format!("{}: {why}", file.display()),
                "install that driver's package again, or remove the file where the GPU is not \
                 there",
            )),
        }
    }
    let mut findings = Vec::new();
    if !good.is_empty() {
        findings.push(Finding::ok("drivers", good.join(", ")));
    } else if let Some(name) = set {
        findings.push(Finding::failed(
            "drivers",
            format!(
                "{name} is `{}`, where there is no driver that can be loaded",
                variables[name]
            ),
            format!("unset {name}, or let it name a driver's JSON file"),
        ));
    } else {
        let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
        findings.push(Finding::failed(
            "drivers",
            format!(
                "there is no Vulkan driver that can be loaded in {}",
                places.join(", ")
            ),
            install,
        ));
    }
    findings.extend(bad);
    findings
}

/// Warns of GPUs that this user may not open.
fn nodes(dri: &Path) -> Option<Finding> {
    let entries = std::fs::read_dir(dri).ok()?.flatten();
    let closed: Vec<String> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let open = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(path);
            name.starts_with("renderD")
                && open.is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
        })
        .map(|path| path.display().to_string())
        .collect();
    (!closed.is_empty()).then(|| {
        Finding::warning(
            "drivers",
            format!("this user may not open {}", closed.join(", ")),
            "add the user to the group that owns it (usermod -aG render,video USER), and log in \
             again",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs.map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn the_way_to_install_is_the_systems_own() {
        for (os, command) in [
            ("ID=debian\n", "apt-get"),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt-get"),
            ("ID=\"rhel\"\n", "dnf"),
            ("ID=arch\n", "pacman"),
            ("ID=alpine\n", "apk"),
            ("", "your system's packages"),
        ] {
            assert!(install(os).contains(command), "{os}");
        }
    }

    #[test]
    fn drivers_are_found_where_the_loader_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let icd = folder.path().join("vulkan/icd.d");
        std::fs::create_dir_all(&icd).unwrap();
        let write = |name: &str, text: &str| std::fs::write(icd.join(name), text).unwrap();
        write("good.json", r#"{"ICD": {"library_path": "libgood.so"}}"#);
        write("gone.json", r#"{"ICD": {"library_path": "../gone.so"}}"#);
        write("none.json", "{}");
        write("torn.json", "{");
        write("other.txt", "");
        let base = folder.path().to_str().unwrap();
        let nothing = "/nonexistent";
        let own = variables(&[
            ("XDG_DATA_DIRS", base),
            ("XDG_CONFIG_DIRS", nothing),
            ("XDG_CONFIG_HOME", nothing),
            ("XDG_DATA_HOME", nothing),
        ]);
        let loads = |library: &str| match library {
            "libgood.so" => Ok(()),
            other => Err(format!("no {other}")),
        };
        let found = drivers(&own, "install", loads);
        let of = |status| {
            let found = found.iter().filter(move |f| f.status == status);
            found.map(|f| f.found.as_str()).collect::<Vec<_>>()
        };
        assert!(of(Status::Failed).is_empty(), "{found:?}");
        assert!(
            of(Status::Ok).iter().any(|f| f.contains("good.json")),
            "{found:?}"
        );
        let bad = of(Status::Warning).join("; ");
        for wrong in ["gone.json: no ", "none.json: names no", "torn.json: is no"] {
            assert!(bad.contains(wrong), "{wrong}: {bad}");
        }
        // A variable that names nothing hides all of them.
        let hidden = variables(&[("XDG_DATA_DIRS", base), ("VK_DRIVER_FILES", nothing)]);
        let found = drivers(&hidden, "install", loads);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].status, Status::Failed);
        assert!(
            found[0]
                .advice
                .as_ref()
                .unwrap()
                .contains("VK_DRIVER_FILES")
        );
        // No driver at all.
        let none = drivers(&own, "install", |_| Err("no".into()));
        assert!(
            none.iter()
                .any(|f| f.status == Status::Failed && f.advice.as_deref() == Some("install")),
            "{none:?}"
        );
    }
}
