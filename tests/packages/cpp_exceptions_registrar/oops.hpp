// The same type in two modules: each has its own copy of everything that the compiler makes of it.
#pragma once

#include <stdexcept>

namespace sample {

struct Oops : std::logic_error {
    using std::logic_error::logic_error;
};

}  // namespace sample
