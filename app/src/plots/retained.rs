//! Triangles that are kept from frame to frame: what does not change is made once, and then only copied.
//!
//! Place in the data flow: plots say what a shape is made from; egui gets a mesh. Within bounds of its own
//! ([`apart`]) a mesh stays alone: the meshes around it would be copied whenever they grow.

use super::svg;
use egui::epaint::{Mesh, Tessellator};
use egui::{Id, Painter, Pos2, Shape, Stroke, Ui};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

/// By how much the bounds of meshes that stay alone differ from those around them, in points: less than can be seen.
const APART: f32 = 0.01;

/// A painter whose meshes are not joined with those of `painter`, nor with those of another `place`.
#[must_use]
pub fn apart(painter: &Painter, place: u8) -> Painter {
    painter.with_clip_rect(painter.clip_rect().shrink(APART * (f32::from(place) + 1.0)))
}

/// A mesh and what it was made from.
struct Kept<K> {
    from: K,
    mesh: Arc<Mesh>,
}

/// What is kept under `id`, if it was made from the `same`.
fn known<K: Send + Sync + 'static>(ui: &Ui, id: Id, same: impl FnOnce(&K) -> bool) -> Option<Shape> {
    let kept: Option<Arc<Kept<K>>> = ui.data(|data| data.get_temp(id));
    kept.filter(|kept| same(&kept.from)).map(|kept| Shape::Mesh(Arc::clone(&kept.mesh)))
}

/// Keeps `mesh` under `id`.
fn keep<K: Send + Sync + 'static>(ui: &Ui, id: Id, from: K, mesh: Mesh) -> Shape {
    let mesh = Arc::new(mesh);
    ui.data_mut(|data| data.insert_temp(id, Arc::new(Kept { from, mesh: Arc::clone(&mesh) })));
    Shape::Mesh(mesh)
}

/// The mesh that is kept under `id` while it was made from the `same`, or a new one.
pub fn mesh<K: Send + Sync + 'static>(
    ui: &Ui,
    id: Id,
    same: impl FnOnce(&K) -> bool,
    make: impl FnOnce() -> (K, Mesh),
) -> Shape {
    known(ui, id, same).unwrap_or_else(|| {
        let (from, mesh) = make();
        keep(ui, id, from, mesh)
    })
}

/// Lines and areas as the triangles that egui would make of them here. Words and discs need its textures and are not for
/// this.
#[must_use]
pub fn triangles(ui: &Ui, shapes: Vec<Shape>) -> Mesh {
    let options = ui.ctx().tessellation_options(|options| *options);
    let mut tessellator = Tessellator::new(ui.pixels_per_point(), options, [1, 1], Vec::new());
    let mut mesh = Mesh::default();
    for shape in shapes {
        tessellator.tessellate_shape(shape, &mut mesh);
    }
    mesh
}

/// Paints many small shapes that follow `from` alone; their triangles are kept under `name`.
pub fn paint<K>(ui: &Ui, name: impl Hash + Debug, from: K, shapes: impl FnOnce(&K) -> Vec<Shape>)
where
    K: PartialEq + Send + Sync + 'static,
{
    if svg::is_wanted(ui.ctx()) {
        ui.painter().extend(shapes(&from));
        return;
    }
    let from = (from, ui.pixels_per_point());
    let id = Id::unique(("retained", ui.scope_id(), name));
    let shape = known(ui, id, |known: &(K, f32)| *known == from).unwrap_or_else(|| {
        let mesh = triangles(ui, shapes(&from.0));
        keep(ui, id, from, mesh)
    });
    ui.painter().add(shape);
}

/// A dashed line: a hundred lines for egui, which are kept under `name`.
pub fn dashed(ui: &Ui, name: &str, line: [Pos2; 2], stroke: Stroke, (dash, gap): (f32, f32)) {
    paint(ui, name, (line, stroke, [dash, gap]), |_| Shape::dashed_line(&line, stroke, dash, gap));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::Theme;
    use egui::{Context, RawInput, Rect, pos2};
    use std::cell::Cell;

    /// Draws `frames` frames with `draw`.
    fn frames(frames: usize, mut draw: impl FnMut(&mut Ui, usize)) {
        let ctx = Context::default();
        for index in 0..frames {
            drop(ctx.run_ui(RawInput::default(), |ui| draw(ui, index)));
        }
    }

    #[test]
    fn a_mesh_is_made_once_for_the_same_and_anew_for_another() {
        let made = Cell::new(0);
        let mut meshes = Vec::new();
        frames(4, |ui, index| {
            let from = index / 2;
            let make = || {
                made.set(made.get() + 1);
                (from, Mesh::default())
            };
            let shape = mesh(ui, Id::unique("a mesh"), |known| *known == from, make);
            if let Shape::Mesh(mesh) = shape {
                meshes.push(mesh);
            }
        });
        assert_eq!(made.get(), 2, "one for each of the two it was made from");
        assert!(Arc::ptr_eq(&meshes[0], &meshes[1]) && !Arc::ptr_eq(&meshes[1], &meshes[2]));
    }

    #[test]
    fn a_dashed_line_follows_its_place_and_its_stroke() {
        let c = &Theme::bundled(true).colours;
        let bounds = |shapes: &[egui::epaint::ClippedShape]| {
            shapes.iter().map(|shape| shape.shape.visual_bounding_rect()).fold(Rect::NOTHING, Rect::union)
        };
        let ctx = Context::default();
        let drawn = |y: f32, width: f32| {
            let line = [pos2(10.0, y), pos2(90.0, y)];
            let frame = ctx.run_ui(RawInput::default(), |ui| {
                dashed(ui, "line", line, Stroke::new(width, c.err), (3.0, 3.0));
            });
            bounds(&frame.shapes)
        };
        let (first, again, lower, wider) = (drawn(20.5, 1.0), drawn(20.5, 1.0), drawn(40.5, 1.0), drawn(40.5, 5.0));
        assert_eq!(first, again);
        assert!((first.center().y - 20.5).abs() < 0.1 && first.left() < 10.5 && first.right() > 80.0, "{first:?}");
        assert!((lower.center().y - 40.5).abs() < 0.1, "{lower:?}");
        assert!(wider.height() > lower.height() + 3.0, "{wider:?}");
    }
}
