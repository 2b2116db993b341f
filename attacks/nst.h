// NST, neural style transfer as an attack (Gatys, Ecker & Bethge 2016): the image keeps its content and takes on
// another image's style, as some network's features see them.
#pragma once
#include "attacks/attack.h"

namespace mith {

/// Minimises over x', from x on, by Adam,
///   L = content_weight |F_c(x') - F_c(x)|^2 / elements
///     + style_weight sum_l |G_l(x') - G_l(s)|^2 / (4 C_l^2 (H_l W_l)^2) - adversarial_weight CE(f(x'), y)
/// with features F [n,H,W,C] and their gram matrices G = F^T F over pixels.
struct Nst {
  static constexpr const char* name = "nst";
  int steps = 100;
  double rate = 0.01;
  double content_weight = 1, style_weight = 1e4, adversarial_weight = 0;
  float eps = 1;                        ///< 1 is no bound: images lie in [0, 1]
  std::string content = "auto";         ///< a feature
  std::string style = "auto";           ///< features, joined by +
  std::string style_image = "texture";  ///< texture, partner, or an .npy file

  void fields(Fields&);
};

/// The names that Nst uses of a network's features.
struct NstLayers {
  std::string content;
  std::vector<std::string> style;
};
/// "auto" means, of all features [n,h,w,c] that the network names, one size after the other from the largest on: for
/// style the first of each, for content the last of all. Throws UsageError listing them on any other name, and for an
/// ensemble.
NstLayers nst_layers(Classifier&, const Nst&);

/// L of each image [n] of a batch that stands for `clean`, in the style of `style` f32 [n,h,w,c].
std::vector<float> nst_loss(Classifier&, const Nst&, const Batch& clean, const Tensor& images, const Tensor& style);

/// What Nst's style_image stands for, one for each image: f32 [n,h,w,c].
Tensor nst_style_images(const Nst&, const Batch& clean, const Batch& whole, const AttackOptions&);

}  // namespace mith
