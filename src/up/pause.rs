//! The pause container's program, and the image around it, made at run time: nothing is downloaded.
//!
//! The program holds the namespaces of a pod: as its process 1 it reaps orphans and ends on SIGTERM or
//! SIGINT. It blocks these signals and SIGCHLD and takes them with rt_sigtimedwait, so it needs no handler,
//! no stack but one word, and no library; [`CODE`] is the whole of it, one instruction a line. To change
//! it, change the bytes by the comments; the test runs the result. Non-goal: processors but x86-64.

use sha2::{Digest, Sha256};

/// The image's name; local, as it comes from nowhere.
pub(crate) const IMAGE: &str = "localhost/keelson/pause:1";

/// x86-64. Mask: SIGINT (2), SIGTERM (15) and SIGCHLD (17) are the bits 1, 14 and 16, 0x14002.
#[rustfmt::skip]
const CODE: &[u8] = &[
    // start:
    0x68, 0x02, 0x40, 0x01, 0x00, //  push 0x14002
    0x31, 0xff,                   //  xor edi, edi          SIG_BLOCK
    0x48, 0x89, 0xe6,             //  mov rsi, rsp
    0x31, 0xd2,                   //  xor edx, edx
    0x6a, 0x08, 0x41, 0x5a,       //  push 8; pop r10       bytes of the mask
    0x6a, 0x0e, 0x58,             //  push 14; pop rax      rt_sigprocmask
    0x0f, 0x05,                   //  syscall
    // wait:
    0x48, 0x89, 0xe7,             //  mov rdi, rsp
    0x31, 0xf6,                   //  xor esi, esi
    0x31, 0xd2,                   //  xor edx, edx          no time limit
    0x6a, 0x08, 0x41, 0x5a,       //  push 8; pop r10
    0xb8, 0x80, 0x00, 0x00, 0x00, //  mov eax, 128          rt_sigtimedwait
    0x0f, 0x05,                   //  syscall
    0x83, 0xf8, 0x11,             //  cmp eax, 17           SIGCHLD
    0x74, 0x0d,                   //  je reap
    0x85, 0xc0,                   //  test eax, eax
    0x78, 0xe5,                   //  js wait               interrupted
    0x31, 0xff,                   //  xor edi, edi
    0xb8, 0xe7, 0x00, 0x00, 0x00, //  mov eax, 231          exit_group(0)
    0x0f, 0x05,                   //  syscall
    // reap:
    0x6a, 0xff, 0x5f,             //  push -1; pop rdi      any child
    0x31, 0xf6,                   //  xor esi, esi
    0x6a, 0x01, 0x5a,             //  push 1; pop rdx       WNOHANG
    0x45, 0x31, 0xd2,             //  xor r10d, r10d
    0x6a, 0x3d, 0x58,             //  push 61; pop rax      wait4
    0x0f, 0x05,                   //  syscall
    0x85, 0xc0,                   //  test eax, eax
    0x7f, 0xec,                   //  jg reap
    0xeb, 0xc6,                   //  jmp wait
];

/// Where the one segment is loaded.
const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;

/// A static ELF64 executable of one read-execute segment.
fn program() -> Vec<u8> {
    let size = HEADERS + CODE.len() as u64;
    let mut elf = Vec::with_capacity(size as usize);
    // e_ident: 64 bits, little endian, version 1, System V.
    elf.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // e_type EXEC, e_machine x86-64.
    elf.extend([2u16, 62].map(u16::to_le_bytes).concat());
    elf.extend(1u32.to_le_bytes());
    // e_entry, e_phoff, e_shoff.
    elf.extend([BASE + HEADERS, 64, 0].map(u64::to_le_bytes).concat());
    elf.extend(0u32.to_le_bytes());
    // e_ehsize, e_phentsize, e_phnum, and no sections.
    elf.extend([64u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    // p_type LOAD, p_flags read and execute; p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align.
    elf.extend([1u32, 5].map(u32::to_le_bytes).concat());
    elf.extend([0, BASE, BASE, size, size, 0x1000].map(u64::to_le_bytes).concat());
    elf.extend(CODE);
    elf
}

/// The image as an OCI layout in a tar archive; always the same bytes.
pub(crate) fn archive() -> Vec<u8> {
    let layer = tar(&[("pause", 0o755, &program())]);
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": { "Entrypoint": ["/pause"], "Env": ["PATH=/"], "User": "65535:65535" },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let config = config.to_string().into_bytes();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["platform"] = serde_json::json!({ "architecture": "amd64", "os": "linux" });
    entry["annotations"] = serde_json::json!({ "io.containerd.image.name": IMAGE });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let blob = |content: &[u8]| format!("blobs/{}", digest(content).replace(':', "/"));
    tar(&[
        ("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", 0o644, index.as_bytes()),
        (&blob(&manifest), 0o644, &manifest),
        (&blob(&config), 0o644, &config),
        (&blob(&layer), 0o644, &layer),
    ])
}

fn digest(content: &[u8]) -> String {
    let bytes = Sha256::digest(content);
    format!("sha256:{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn descriptor(kind: &str, content: &[u8]) -> serde_json::Value {
    serde_json::json!({ "mediaType": kind, "digest": digest(content), "size": content.len() })
}

/// A ustar archive of plain files of root, of 1970.
fn tar(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut archive = Vec::new();
    for (name, mode, content) in files {
        let mut header = [0u8; BLOCK];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", content.len()));
        put(136, "00000000000");
        // The checksum is made with blanks in its own place.
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend(*content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_program_waits_and_ends_when_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("pause");
        crate::up::files::write(&path, &program(), 0o755, false).expect("written");
        let mut child = Command::new(&path).spawn().expect("it is a program");
        let pid = rustix::process::Pid::from_child(&child);
        // It must not end it.
        rustix::process::kill_process(pid, rustix::process::Signal::CHILD).expect("told");
        assert_eq!(child.try_wait().expect("asked"), None);
        let status = loop {
            // It sleeps in one place only; before, SIGTERM would end it as any program.
            let state = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("alive");
            if state.contains("\nState:\tS") {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
                break child.wait().expect("ended");
            }
        };
        assert_eq!((status.code(), status.signal()), (Some(0), None));
    }

    #[test]
    fn the_archive_is_a_tar_with_right_digests() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("pause.tar");
        std::fs::write(&path, archive()).expect("written");
        let out = Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(dir.path()).output().expect("tar");
        assert!(out.status.success(), "{out:?}");
        let blobs = dir.path().join("blobs/sha256");
        for blob in std::fs::read_dir(blobs).expect("blobs") {
            let blob = blob.expect("entry");
            let content = std::fs::read(blob.path()).expect("content");
            assert_eq!(digest(&content), format!("sha256:{}", blob.file_name().to_string_lossy()));
        }
    }
}
