// What the computing files of the Expert Advisor need of MQL5 to compile as C++.
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstdint>

#define MathLog std::log
#define MathLog1p std::log1p
#define MathExp std::exp
#define MathExpm1 std::expm1
#define MathSqrt std::sqrt
#define MathTanh std::tanh
#define MathPow std::pow
#define MathMod std::fmod
#define MathFloor std::floor
#define MathCeil std::ceil
#define MathRound std::round
#define MathSin std::sin
#define MathCos std::cos
#define MathAbs std::fabs
#define MathIsValidNumber std::isfinite

typedef unsigned char uchar;
typedef int64_t datetime;
