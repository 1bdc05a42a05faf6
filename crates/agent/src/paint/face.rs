//! How text looks: one of the sixteen colours that every terminal has, and a few styles.
//!
//! The sixteen are those that the person has chosen for the terminal, light or dark, so they are
//! readable wherever they come from. Without colours the styles remain; nothing is said by colour
//! alone. Start at [`Face`].

use ratatui::style::{Color, Modifier, Style};

/// A colour, by what the terminal calls it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ink {
    /// The terminal's own.
    #[default]
    Plain,
    /// Removed, failed.
    Red,
    /// Added, strings.
    Green,
    /// Asked, numbers.
    Yellow,
    /// Functions, links.
    Blue,
    /// Keywords.
    Magenta,
    /// Headings, code in a sentence.
    Cyan,
    /// Comments, frames.
    Gray,
}

/// How text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Face {
    /// Its colour.
    pub ink: Ink,
    /// Stands out.
    pub bold: bool,
    /// Steps back.
    pub dim: bool,
    /// Slanted.
    pub italic: bool,
    /// With a line below.
    pub underline: bool,
    /// With a line through it.
    pub struck: bool,
    /// Ground and colour exchanged.
    pub reverse: bool,
}

impl Face {
    /// Plain text in a colour.
    pub const fn ink(ink: Ink) -> Face {
        Face { ink, ..Face::PLAIN }
    }

    /// Text as it comes.
    pub const PLAIN: Face = Face {
        ink: Ink::Plain,
        bold: false,
        dim: false,
        italic: false,
        underline: false,
        struck: false,
        reverse: false,
    };

    /// Text that steps back.
    pub const DIM: Face = Face { dim: true, ..Face::PLAIN };

    /// Text that stands out.
    pub const BOLD: Face = Face { bold: true, ..Face::PLAIN };

    /// The same, standing out.
    pub const fn bold(self) -> Face {
        Face { bold: true, ..self }
    }

    /// The same, stepping back.
    pub const fn dim(self) -> Face {
        Face { dim: true, ..self }
    }

    /// The face for a cell of the full screen.
    pub fn style(self, colours: bool) -> Style {
        let color = match self.ink {
            _ if !colours => Color::Reset,
            Ink::Plain => Color::Reset,
            Ink::Red => Color::Red,
            Ink::Green => Color::Green,
            Ink::Yellow => Color::Yellow,
            Ink::Blue => Color::Blue,
            Ink::Magenta => Color::Magenta,
            Ink::Cyan => Color::Cyan,
            Ink::Gray => Color::DarkGray,
        };
        let mut modifier = Modifier::empty();
        modifier.set(Modifier::BOLD, self.bold);
        modifier.set(Modifier::DIM, self.dim);
        modifier.set(Modifier::ITALIC, self.italic);
        modifier.set(Modifier::UNDERLINED, self.underline);
        modifier.set(Modifier::CROSSED_OUT, self.struck);
        modifier.set(Modifier::REVERSED, self.reverse);
        Style::new().fg(color).add_modifier(modifier)
    }
}

/// Text of one face.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The text.
    pub text: String,
    /// Its look.
    pub face: Face,
}

impl Run {
    /// Text of a face.
    pub fn new(text: impl Into<String>, face: Face) -> Run {
        Run { text: text.into(), face }
    }

    /// Text as it comes.
    pub fn plain(text: impl Into<String>) -> Run {
        Run::new(text, Face::PLAIN)
    }
}
