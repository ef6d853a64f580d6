// Arithmetic that the generated functions use; the same text compiles as MQL5 and, for its tests, as C++.

float Larger(const float a, const float b) {
   return (a >= b || a != a) ? a : b;
}

float Smaller(const float a, const float b) {
   return (a <= b || a != a) ? a : b;
}

int LargerInt(const int a, const int b) {
   return a > b ? a : b;
}

int SmallerInt(const int a, const int b) {
   return a < b ? a : b;
}

float SignOf(const float x) {
   if(x > 0.0f)
      return 1.0f;
   if(x < 0.0f)
      return -1.0f;
   return x;
}

// To the nearest whole number, halves to the even one, as NumPy and JAX round; MathRound rounds halves away from zero.
float RoundEven(const float x) {
   double below = MathFloor((double)x);
   double part = (double)x - below;
   if(part > 0.5 || (part == 0.5 && MathMod(below, 2.0) != 0.0))
      below += 1.0;
   return (float)below;
}

// Elementary functions are computed in double and rounded once.
float LogOf(const float x) {
   return (float)MathLog((double)x);
}

float Log1pOf(const float x) {
   return (float)MathLog1p((double)x);
}

float ExpOf(const float x) {
   return (float)MathExp((double)x);
}

float SqrtOf(const float x) {
   return (float)MathSqrt((double)x);
}

float TanhOf(const float x) {
   return (float)MathTanh((double)x);
}

float SigmoidOf(const float x) {
   return (float)(1.0 / (1.0 + MathExp(-(double)x)));
}

float PowerOf(const float x, const float exponent) {
   return (float)MathPow((double)x, (double)exponent);
}

// Division by zero ends an Expert Advisor; here it is infinite or not a number, as in the training.
float Quotient(const float a, const float b) {
   if(b != 0.0f)
      return a / b;
   if(a == 0.0f || a != a)
      return (float)MathSqrt(-1.0);
   return (float)(a > 0.0f ? MathExp(1000.0) : -MathExp(1000.0));
}

int QuotientInt(const int a, const int b) {
   return b != 0 ? a / b : 0;
}

float Remainder(const float a, const float b) {
   return b != 0.0f ? (float)MathMod((double)a, (double)b) : (float)MathSqrt(-1.0);
}

int RemainderInt(const int a, const int b) {
   return b != 0 ? a % b : 0;
}

float SizeOf(const float x) {
   return x < 0.0f ? -x : x;
}

int SizeOfInt(const int x) {
   return x < 0 ? -x : x;
}

int SignOfInt(const int x) {
   return x > 0 ? 1 : (x < 0 ? -1 : 0);
}

float FloorOf(const float x) {
   return (float)MathFloor((double)x);
}

float CeilOf(const float x) {
   return (float)MathCeil((double)x);
}

float Expm1Of(const float x) {
   return (float)MathExpm1((double)x);
}
