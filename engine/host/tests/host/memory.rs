//! What a process with a window keeps of a frame's buffers.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn what_a_frame_frees_is_kept_for_the_next() {
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
