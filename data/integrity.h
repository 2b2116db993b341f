// What stb's decoder takes on trust in an image file, checked before it decodes.
#pragma once
#include <cstdint>
#include <span>

namespace mith {

/// Why the bytes are not to be decoded, or null if nothing speaks against it:
///   JPEG  a Huffman table of more than 256 codes, which overruns the decoder's own
///   PNG   a chunk whose checksum differs, a missing end, no pixels
///   BMP   pixels beyond the end of the file, for which the decoder makes up zeros
const char* defect_of(std::span<const uint8_t> file);

}  // namespace mith
