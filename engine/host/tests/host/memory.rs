//! What a process with a window keeps of a frame's buffers.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn what_a_frame_frees_is_kept_for_the_next() {
    const ALONE: &str = "TEMPER_TEST_ALONE";
    // The allocator and what a process holds belong to all of its tests: the one that looks at them has its own.
    if std::env::var_os(ALONE).is_none() {
        let child = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "memory::what_a_frame_frees_is_kept_for_the_next", "--nocapture"])
            .env(ALONE, "1")
            .output()
            .expect("this program once more");
        let said = [child.stdout, child.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    // Several buffers at once, as a renderer has them: each below what the allocator has a block of its own for.
    fn frame() {
        let buffers: Vec<Vec<u8>> = (1..=6).map(|value| vec![value; 4 << 20]).collect();
        assert_eq!(std::hint::black_box(&buffers).len(), 6);
    }
    let resident = temper_train::meter::resident_mib;
    (0..3).for_each(|_| frame());
    let before = resident();
    frame();
    assert!(resident() - before < 8.0, "usually it is given back: {before} MiB, then {}", resident());
    temper_host::memory::keep_frames();
    frame();
    assert!(resident() - before > 16.0, "{before} MiB, then {}", resident());
}
