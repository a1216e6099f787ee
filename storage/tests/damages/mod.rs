//! Damage as disks and people do it: bits flipped, files cut, pages emptied or older than they should be.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes that a disk writes as one.
const PAGE_BYTES: u64 = 4096;

/// Numbers that look random and come from one seed (SplitMix64).
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Returns once a store that was closed is left alone: sled's threads let go of it a little later, and may change its files until then.
pub(crate) fn wait_until_released(store: &Path) {
    // The lock that sled holds on it.
    fs::File::open(store.join("db")).unwrap().lock().unwrap();
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

/// Damages one file, and says what it did.
pub(crate) fn damage(folder: &Path, older: &Path, seed: u64) -> String {
    let mut draws = Draws(seed);
    let files: Vec<PathBuf> = files(folder)
        .into_iter()
        .filter(|file| fs::metadata(file).unwrap().len() > 0)
        .collect();
    // Most damage hits the file that holds nearly everything.
    let chosen = match draws.below(3) {
        0 => files[usize::try_from(draws.below(files.len() as u64)).unwrap()].clone(),
        _ => folder.join("db"),
    };
    let length = fs::metadata(&chosen).unwrap().len();
    let name = chosen.strip_prefix(folder).unwrap().to_owned();
    let file = fs::OpenOptions::new().read(true).write(true).open(&chosen).unwrap();
    match draws.below(4) {
        0 => {
            let (position, bit) = (draws.below(length), draws.below(8));
            let mut byte = [0];
            file.read_exact_at(&mut byte, position).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << bit)], position).unwrap();
            format!("bit {bit} of byte {position} of {} flipped", name.display())
        }
        1 => {
            let end = draws.below(length);
            file.set_len(end).unwrap();
            format!("{} cut to {end} of {length} bytes", name.display())
        }
        2 => {
            let page = draws.below(length.div_ceil(PAGE_BYTES)) * PAGE_BYTES;
            let end = (page + PAGE_BYTES).min(length);
            file.write_all_at(&vec![0; usize::try_from(end - page).unwrap()], page)
                .unwrap();
            format!("page at {page} of {} emptied", name.display())
        }
        _ => {
            // A write that never arrived: the page is as it was some commits ago.
            let page = draws.below(length.div_ceil(PAGE_BYTES)) * PAGE_BYTES;
            let mut bytes = vec![0; usize::try_from(PAGE_BYTES.min(length - page)).unwrap()];
            if let Ok(before) = fs::File::open(older.join(&name))
                && before.read_exact_at(&mut bytes, page).is_ok()
            {
                file.write_all_at(&bytes, page).unwrap();
            }
            format!("page at {page} of {} as it was before", name.display())
        }
    }
}
