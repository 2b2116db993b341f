// Every registered attack, for tests of all of them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace mith {

/// What an attack does with eps=0.
enum class NoBudget : uint8_t { identity, refused, no_eps };

struct QuickAttack {
  std::string spec;
  NoBudget no_budget = NoBudget::identity;
};

/// Every attack with settings that take few passes. One name may stand in several rows, a row of its own for every
/// mode.
inline const std::vector<QuickAttack>& quick_attacks() {
  static const std::vector<QuickAttack> all = {
      {"fgsm:eps=0.06"},
      {"fgm:eps=0.5"},
      {"bim:eps=0.06,alpha=0.02,steps=5"},
      {"pgd:eps=0.06,alpha=0.02,steps=5,restarts=2"},
      {"pgd-l2:eps=0.5,alpha=0.2,steps=5"},
      {"noise:eps=0.06,restarts=3"},
      {"rfgsm:eps=0.06,alpha=0.02,steps=4"},
      {"ffgsm:eps=0.06"},
      {"tpgd:eps=0.06,alpha=0.02,steps=5"},
      {"eotpgd:eps=0.06,alpha=0.02,steps=4,eot=2"},
      {"apgd-ce:eps=0.06,steps=10"},
      {"apgd-dlr:eps=0.06,steps=10"},
      {"apgd-t:eps=0.06,steps=10"},
      {"autoattack:eps=0.06,steps=5,queries=20"},
      {"mifgsm:eps=0.06,alpha=0.02,steps=5"},
      {"nifgsm:eps=0.06,alpha=0.02,steps=5"},
      {"tifgsm:eps=0.06,alpha=0.02,steps=4,kernel_size=3"},
      {"difgsm:eps=0.06,alpha=0.02,steps=4"},
      {"vmifgsm:eps=0.06,alpha=0.02,steps=3,neighbours=2"},
      {"vnifgsm:eps=0.06,alpha=0.02,steps=3,neighbours=2"},
      {"pgn:eps=0.06,alpha=0.02,steps=3,neighbours=2"},
      {"sifgsm:eps=0.06,alpha=0.02,steps=3,copies=2"},
      {"sinifgsm:eps=0.06,alpha=0.02,steps=3,copies=2"},
      {"admix:eps=0.06,alpha=0.02,steps=3,mixes=2,scales=2"},
      {"usmm:eps=0.06,alpha=0.02,steps=3,mixes=2,scales=2"},
      {"sia:eps=0.06,alpha=0.02,steps=3,copies=3"},
      {"sia:eps=0.06,alpha=0.02,steps=3,copies=3,sia_ops=10"},
      {"stm:eps=0.06,alpha=0.02,steps=3,copies=3"},
      {"nst:eps=0.06,steps=5,rate=0.02,style_weight=1,adversarial_weight=1e6"},
      {"cw:search_steps=3,steps=30,c=1", NoBudget::no_eps},
      {"cw-fast:search_steps=3,steps=30,c=1", NoBudget::no_eps},
      {"lbfgs:search_steps=3,steps=8", NoBudget::no_eps},
      {"deepfool:steps=10", NoBudget::no_eps},
      {"deepfool:norm=linf,steps=10", NoBudget::no_eps},
      {"fab:steps=8"},
      {"fab:norm=l2,eps=0.5,steps=8,restarts=2"},
      {"fab-t:steps=8"},
      {"jsma:theta=1,gamma=0.2", NoBudget::no_eps},
      {"onepixel:pixels=3,generations=3,popsize=30", NoBudget::no_eps},
      {"simba:eps=0.2,queries=40"},
      {"square:eps=0.06,queries=40"},
      {"square:norm=l2,eps=0.5,queries=40"},
      {"vertical:eps=0.06,queries=40"},
      {"vertical:eps=0.06,mode=grad,steps=4"},
      {"uap:eps=0.06,passes=2"},
      {"uap-deepfool:eps=0.06,passes=1,steps=3"},
      {"u-simba:eps=0.06,steps=10"},
      {"patch:size=3,beta=0.5,passes=2", NoBudget::no_eps},
      {"patch-eot:passes=2", NoBudget::no_eps},
  };
  return all;
}

}  // namespace mith
