//! Draws a window's triangles into memory, as a graphics card would: the pictures need no
//! display and no card, and look the same on every system.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::rc::Rc;

use socket_stages_window::eframe::egui::epaint::{ImageDelta, Mesh, Primitive, Vertex};
use socket_stages_window::eframe::egui::{
    self, Color32, ColorImage, ImageData, Rect, TextureId, TexturesDelta, pos2,
};
use socket_stages_window::{egui_kittest, png};

/// The letters and other textures that the window has given to its graphics card.
#[derive(Clone, Default)]
pub struct Textures(Rc<RefCell<HashMap<TextureId, ColorImage>>>);

impl egui_kittest::TestRenderer for Textures {
    fn handle_delta(&mut self, delta: &mut TexturesDelta) {
        let mut textures = self.0.borrow_mut();
        for (id, deltas) in delta.set.drain() {
            for delta in deltas {
                take(textures.entry(id).or_default(), delta);
            }
        }
        for id in delta.free.drain() {
            textures.remove(&id);
        }
    }
}

/// Takes in a new texture, or a new part of a texture.
fn take(texture: &mut ColorImage, delta: ImageDelta) {
    let ImageData::Color(image) = delta.image;
    match delta.pos {
        None => *texture = ColorImage::clone(&image),
        Some([left, top]) => {
            for (row, y) in image.pixels.chunks(image.size[0]).zip(top..) {
                let start = y * texture.size[0] + left;
                texture.pixels[start..start + row.len()].copy_from_slice(row);
            }
        }
    }
}

/// What a person in front of the window would see.
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<Color32>,
}

impl Picture {
    /// Draws the output of a frame.
    pub fn new(context: &egui::Context, output: &egui::FullOutput, textures: &Textures) -> Self {
        let scale = output.pixels_per_point;
        let size = context.content_rect().size() * scale;
        let (width, height) = (size.x as usize, size.y as usize);
        let mut picture = Self {
            width,
            height,
            pixels: vec![Color32::BLACK; width * height],
        };
        let textures = textures.0.borrow();
        for part in context.tessellate(output.shapes.clone(), scale) {
            if let Primitive::Mesh(mesh) = part.primitive {
                let clip = part.clip_rect * scale;
                picture.draw(&mesh, clip, &textures[&mesh.texture_id], scale);
            }
        }
        picture
    }

    fn draw(&mut self, mesh: &Mesh, clip: Rect, texture: &ColorImage, scale: f32) {
        for corners in mesh.indices.chunks_exact(3) {
            let corners = [0, 1, 2].map(|n| {
                let mut vertex = mesh.vertices[corners[n] as usize];
                vertex.pos *= scale;
                vertex
            });
            self.draw_triangle(corners, clip, texture);
        }
    }

    fn draw_triangle(&mut self, [a, mut b, mut c]: [Vertex; 3], clip: Rect, texture: &ColorImage) {
        let mut area = edge(a, b, c.pos);
        if area < 0.0 {
            std::mem::swap(&mut b, &mut c);
            area = -area;
        }
        if area == 0.0 {
            return;
        }
        let bounds = Rect::from_points(&[a.pos, b.pos, c.pos]).intersect(clip.round());
        let columns =
            bounds.min.x.max(0.0) as usize..(bounds.max.x.ceil() as usize).min(self.width);
        for y in bounds.min.y.max(0.0) as usize..(bounds.max.y.ceil() as usize).min(self.height) {
            for x in columns.clone() {
                let point = pos2(x as f32 + 0.5, y as f32 + 0.5);
                let sides = [(b, c), (c, a), (a, b)];
                // A pixel on the common side of two triangles belongs to only one of them.
                let inside = |(from, to): &(Vertex, Vertex)| {
                    let side = edge(*from, *to, point);
                    let along = to.pos - from.pos;
                    side > 0.0 || side == 0.0 && (along.y < 0.0 || along.y == 0.0 && along.x > 0.0)
                };
                if clip.contains(point) && sides.iter().all(inside) {
                    let weights = sides.map(|(from, to)| edge(from, to, point) / area);
                    let pixel = &mut self.pixels[y * self.width + x];
                    *pixel = blend(*pixel, shade([a, b, c], weights, texture));
                }
            }
        }
    }

    /// How many pixels are not of the commonest colour: a window that shows nothing has few.
    pub fn drawn(&self) -> usize {
        let mut counts = HashMap::<_, usize>::new();
        for pixel in &self.pixels {
            *counts.entry(pixel).or_default() += 1;
        }
        self.pixels.len() - counts.into_values().max().unwrap_or(0)
    }

    pub fn save(&self, path: &Path) {
        let file = BufWriter::new(File::create(path).unwrap());
        let mut encoder = png::Encoder::new(file, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::Balanced);
        let pixels = self.pixels.iter();
        let bytes: Vec<u8> = pixels.flat_map(|p| [p.r(), p.g(), p.b()]).collect();
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&bytes).unwrap();
    }
}

/// Twice the area of the triangle of two corners and a point; negative on the other side.
fn edge(a: Vertex, b: Vertex, point: egui::Pos2) -> f32 {
    let (side, to) = (b.pos - a.pos, point - a.pos);
    side.x * to.y - side.y * to.x
}

/// The colour of a point in a triangle: that of its corners, times that of the texture.
fn shade(corners: [Vertex; 3], weights: [f32; 3], texture: &ColorImage) -> [f32; 4] {
    let mut uv = egui::Vec2::ZERO;
    let mut colour = [0.0; 4];
    for (corner, weight) in corners.iter().zip(weights) {
        uv += corner.uv.to_vec2() * weight;
        for (sum, part) in colour.iter_mut().zip(corner.color.to_array()) {
            *sum += f32::from(part) * weight;
        }
    }
    let [width, height] = texture.size;
    let x = ((uv.x * width as f32) as usize).min(width - 1);
    let y = ((uv.y * height as f32) as usize).min(height - 1);
    let texel = texture.pixels[y * width + x].to_array();
    std::array::from_fn(|n| colour[n] * f32::from(texel[n]) / 255.0)
}

/// Puts a colour (premultiplied by how much it covers) over another one.
fn blend(below: Color32, above: [f32; 4]) -> Color32 {
    let rest = 1.0 - above[3] / 255.0;
    let below = below.to_array();
    let [r, g, b, a] =
        std::array::from_fn(|n| (above[n] + f32::from(below[n]) * rest).round() as u8);
    Color32::from_rgba_premultiplied(r, g, b, a)
}
