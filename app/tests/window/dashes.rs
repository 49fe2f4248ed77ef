//! Lines of runs that have one colour and one marker in Compare.

use crate::{compared, kit};
use egui::epaint::Shape;

/// Pieces of dashed lines as they stand beside a run's name: level, and 2 points long.
fn pieces(window: &kit::Window) -> usize {
    let is_piece = |shape: &Shape| match shape {
        Shape::LineSegment { points: [from, to], .. } => {
            (to.x - from.x - 2.0).abs() < 0.01 && (to.y - from.y).abs() < 0.01
        }
        _ => false,
    };
    window.output().shapes.iter().filter(|clipped| is_piece(&clipped.shape)).count()
}

#[test]
fn the_ninth_run_has_a_dashed_line_beside_its_name() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = compared::compared(&mut window, &stage);
    let before = pieces(&window);
    let mut snapshot = compared::six_runs(&folder);
    for row in &mut snapshot.runs {
        row.run += 2;
    }
    stage.runs.publish(snapshot);
    window.run();
    assert!(pieces(&window) >= before + 4, "run 9 looks like run 1 otherwise");
}
