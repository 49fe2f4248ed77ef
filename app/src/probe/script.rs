//! What the bench does with the window, frame by frame: what a person does who looks at a run.
//!
//! Place in the data flow: [`super::Driven`] asks for the events of the next frame before egui sees its input. Places
//! come from the plots themselves, so that the script fits every size of the window.

use crate::screen::Plot;
use egui::{
    Context, Event, Key, Modifiers, MouseWheelSource, MouseWheelUnit, PointerButton, Pos2, RawInput, Rect, TouchPhase,
    pos2, vec2,
};

/// Frames of one round: look, zoom in, look closer, zoom out, other plots, scroll, zoom by dragging.
const ROUND: u32 = 560;

/// Where the script is.
#[derive(Debug, Default)]
pub(super) struct Script {
    frame: u32,
}

/// A place inside `rect`, by shares.
fn within(rect: Rect, across: f32, down: f32) -> Pos2 {
    pos2(rect.left() + across * rect.width(), rect.top() + down * rect.height())
}

/// From the left to the right and back within a panel's plot, up and down on the way.
fn sweep(rect: Rect, frame: u32, frames: u32) -> Pos2 {
    let share = frame as f32 / frames as f32;
    let across = 1.0 - (2.0 * share - 1.0).abs();
    within(rect, 0.12 + 0.55 * across, 0.5 + 0.3 * (share * 31.0).sin())
}

impl Script {
    /// Adds the events of the next frame.
    pub(super) fn input(&mut self, ctx: &Context, raw: &mut RawInput) {
        let window = raw.screen_rect.unwrap_or_else(|| ctx.content_rect());
        let place = |plot: Plot| plot.place(ctx).unwrap_or(window);
        let (loss, kept, ranks) = (place(Plot::Loss), place(Plot::Forgetting), place(Plot::Ranks));
        let list = Rect::from_min_max(within(window, 0.6, 0.85), within(window, 0.98, 0.95));
        let frame = self.frame % ROUND;
        self.frame += 1;
        let mut moved = |to: Pos2| raw.events.push(Event::PointerMoved(to));
        match frame {
            0..120 => moved(sweep(loss, frame, 120)),
            120..180 | 240..300 => {
                moved(within(loss, 0.45, 0.5));
                raw.events.push(Event::Zoom(if frame < 180 { 1.05 } else { 1.0 / 1.05 }));
            }
            180..240 => moved(sweep(loss, frame - 180, 60)),
            300..304 => {
                moved(within(loss, 0.45, 0.5));
                raw.events.push(button(within(loss, 0.45, 0.5), frame.is_multiple_of(2)));
            }
            304..364 => moved(sweep(kept, frame - 304, 60)),
            364..424 => moved(sweep(ranks, frame - 364, 60)),
            424..484 => {
                moved(list.center());
                let down = if frame < 454 { -24.0 } else { 24.0 };
                raw.events.push(Event::MouseWheel {
                    unit: MouseWheelUnit::Point,
                    delta: vec2(0.0, down),
                    phase: TouchPhase::Move,
                    source: MouseWheelSource::Wheel,
                    modifiers: Modifiers::NONE,
                });
            }
            484 => moved(within(loss, 0.2, 0.5)),
            485 => raw.events.push(button(within(loss, 0.2, 0.5), true)),
            486..545 => moved(within(loss, 0.2 + 0.006 * (frame - 486) as f32, 0.5)),
            545 => raw.events.push(button(within(loss, 0.55, 0.5), false)),
            546..550 => raw.events.push(button(within(loss, 0.45, 0.5), frame.is_multiple_of(2))),
            _ => moved(sweep(loss, frame - 550, ROUND - 550)),
        }
    }
}

/// Frames of one round through the token lens: slowly, fast, page by page, to the other end, back.
const LENS_ROUND: u32 = 420;

impl Script {
    /// The same for the token lens, whose list lies in the upper half of the window.
    pub(super) fn lens_input(&mut self, ctx: &Context, raw: &mut RawInput) {
        let window = raw.screen_rect.unwrap_or_else(|| ctx.content_rect());
        let list = within(window, 0.5, 0.35);
        let frame = self.frame % LENS_ROUND;
        self.frame += 1;
        raw.events.push(Event::PointerMoved(list));
        let mut wheel = |points: f32| {
            raw.events.push(Event::MouseWheel {
                unit: MouseWheelUnit::Point,
                delta: vec2(0.0, points),
                phase: TouchPhase::Move,
                source: MouseWheelSource::Wheel,
                modifiers: Modifiers::NONE,
            });
        };
        match frame {
            0..120 => wheel(-9.0),
            120..240 => wheel(-120.0),
            240..330 if frame.is_multiple_of(3) => raw.events.extend(key(Key::PageDown)),
            330 => raw.events.extend(key(Key::End)),
            331..390 => wheel(60.0),
            390 => raw.events.extend(key(Key::Home)),
            _ => {}
        }
    }
}

fn key(key: Key) -> [Event; 2] {
    [true, false].map(|pressed| Event::Key {
        key,
        physical_key: None,
        pressed,
        repeat: false,
        modifiers: Modifiers::NONE,
    })
}

fn button(pos: Pos2, pressed: bool) -> Event {
    Event::PointerButton { pos, button: PointerButton::Primary, pressed, modifiers: Modifiers::NONE }
}
