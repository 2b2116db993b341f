// Signs that an attack failed for want of a gradient rather than for the model's strength.
#pragma once
#include <vector>

#include "engine/report/report.h"

namespace mith {

/// Compares the rows of one model, norm and radius: noise that does more harm than an attack, one step more than many,
/// score or transfer access more than white (Athalye et al. 2018, Carlini et al. 2019). What is found is written into
/// the rows' warnings and to stderr.
void add_masking_warnings(std::vector<ReportRow>&);

}  // namespace mith
