//! Installs fonts and both themes into an egui context. The window and the tests use this one function.

use super::tokens::Theme;
use super::types::{MEDIUM, MONO_MEDIUM, SEMIBOLD, Type};
use super::{Colours, Look, icons};
use egui::style::{HandleShape, ScrollAnimation, Selection, WidgetVisuals};
use egui::{Color32, Context, CornerRadius, FontData, FontDefinitions, FontFamily, Shadow, Stroke, TextStyle};
use std::sync::Arc;

const FONTS: [(&str, &[u8]); 8] = [
    ("inter", include_bytes!("../../../assets/fonts/Inter-Regular.ttf")),
    (MEDIUM, include_bytes!("../../../assets/fonts/Inter-Medium.ttf")),
    (SEMIBOLD, include_bytes!("../../../assets/fonts/Inter-SemiBold.ttf")),
    ("mono", include_bytes!("../../../assets/fonts/JetBrainsMono-Regular.ttf")),
    (MONO_MEDIUM, include_bytes!("../../../assets/fonts/JetBrainsMono-Medium.ttf")),
    (icons::REGULAR, include_bytes!("../../../assets/icons/Phosphor-Regular.ttf")),
    (icons::BOLD, include_bytes!("../../../assets/icons/Phosphor-Bold.ttf")),
    (icons::FILL, include_bytes!("../../../assets/icons/Phosphor-Fill.ttf")),
];

/// Installs fonts, type scale and both themes. Call once, before the first frame.
pub fn install(ctx: &Context) {
    ctx.set_fonts(fonts());
    for theme in [egui::Theme::Dark, egui::Theme::Light] {
        let tokens = Theme::bundled(theme == egui::Theme::Dark);
        ctx.style_mut_of(theme, |style| apply(style, tokens));
    }
    // Zoom is a command of ours, so that the palette and the help list it.
    ctx.options_mut(|options| options.zoom_with_keyboard = false);
}

/// The dark style of egui in the colours of the dark theme, or of high contrast, which egui has no style of its own for.
pub fn restyle(ctx: &Context, contrast: bool) {
    let tokens = Theme::of(if contrast { Look::Contrast } else { Look::Dark });
    ctx.style_mut_of(egui::Theme::Dark, |style| apply(style, tokens));
}

/// Fonts and, per family, what stands in for a missing glyph.
fn fonts() -> FontDefinitions {
    let mut fonts = FontDefinitions::empty();
    for (name, bytes) in FONTS {
        fonts.font_data.insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    }
    let families: [(FontFamily, &[&str]); 8] = [
        (FontFamily::Proportional, &["inter", "mono", icons::REGULAR]),
        (FontFamily::Monospace, &["mono", "inter", icons::REGULAR]),
        (FontFamily::Name(MEDIUM.into()), &[MEDIUM, "mono"]),
        (FontFamily::Name(SEMIBOLD.into()), &[SEMIBOLD, "mono"]),
        (FontFamily::Name(MONO_MEDIUM.into()), &[MONO_MEDIUM, "inter"]),
        (FontFamily::Name(icons::REGULAR.into()), &[icons::REGULAR, "inter"]),
        (FontFamily::Name(icons::BOLD.into()), &[icons::BOLD, "inter"]),
        (FontFamily::Name(icons::FILL.into()), &[icons::FILL, "inter"]),
    ];
    for (family, names) in families {
        fonts.families.insert(family, names.iter().map(|name| (*name).to_owned()).collect());
    }
    fonts
}

fn widget(c: &Colours, fill: Color32, border: Color32, text: Color32) -> WidgetVisuals {
    WidgetVisuals {
        bg_fill: fill,
        weak_bg_fill: fill,
        bg_stroke: Stroke::new(1.0, border),
        corner_radius: CornerRadius::same(4),
        fg_stroke: Stroke::new(1.0, text),
        expansion: if fill == c.window { 1.0 } else { 0.0 },
    }
}

/// What egui draws by itself (text cursor, selection, scroll bars, tooltips, menus) follows the same roles.
fn apply(style: &mut egui::Style, theme: &Theme) {
    let c = &theme.colours;
    style.text_styles = [
        (TextStyle::Small, Type::Caption.font()),
        (TextStyle::Body, Type::Body.font()),
        (TextStyle::Button, Type::Medium.font()),
        (TextStyle::Heading, Type::Room.font()),
        (TextStyle::Monospace, Type::Mono.font()),
    ]
    .into();
    style.animation_time = 0.0;
    style.scroll_animation = ScrollAnimation::none();
    style.spacing.item_spacing = egui::vec2(0.0, 0.0);
    style.spacing.button_padding = egui::vec2(8.0, 4.0);
    style.spacing.menu_margin = egui::Margin::same(4);
    style.spacing.scroll = egui::style::ScrollStyle {
        bar_width: 8.0,
        floating_width: 3.0,
        dormant_handle_opacity: 0.3,
        active_handle_opacity: 0.5,
        active_background_opacity: 0.0,
        interact_background_opacity: 0.0,
        ..egui::style::ScrollStyle::floating()
    };
    style.interaction.tooltip_delay = 0.3;
    style.interaction.selectable_labels = false;
    let visuals = &mut style.visuals;
    visuals.dark_mode = theme.dark;
    visuals.override_text_color = None;
    visuals.weak_text_color = Some(c.text3);
    visuals.widgets.noninteractive = widget(c, c.card, c.line, c.text);
    visuals.widgets.inactive = widget(c, c.raised, c.line2, c.text);
    visuals.widgets.hovered = widget(c, c.hover, c.line2, c.text);
    visuals.widgets.active = widget(c, c.hover, c.accent, c.text);
    visuals.widgets.open = widget(c, c.hover, c.line2, c.text);
    visuals.selection = Selection { bg_fill: c.accent_bg, stroke: Stroke::new(1.0, c.accent) };
    visuals.hyperlink_color = c.accent;
    visuals.faint_bg_color = c.raised;
    visuals.extreme_bg_color = c.panel;
    visuals.text_edit_bg_color = Some(c.panel);
    visuals.code_bg_color = c.raised;
    visuals.warn_fg_color = c.warn;
    visuals.error_fg_color = c.err;
    visuals.window_corner_radius = CornerRadius::same(6);
    visuals.window_shadow = Shadow::NONE;
    visuals.popup_shadow = Shadow::NONE;
    visuals.window_fill = c.raised;
    visuals.window_stroke = Stroke::new(1.0, c.line2);
    visuals.menu_corner_radius = CornerRadius::same(6);
    visuals.panel_fill = c.window;
    visuals.text_cursor.stroke = Stroke::new(1.0, c.accent);
    visuals.text_cursor.blink = false;
    visuals.handle_shape = HandleShape::Circle;
    visuals.interact_cursor = None;
    visuals.image_loading_spinners = false;
}
