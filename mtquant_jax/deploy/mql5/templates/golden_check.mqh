// Replays the bars of golden.mqh before anything is traded: features, account, policies, limits and lots must come out
// as the training computes them, or the Expert Advisor does not start.

#define GOLDEN_TOLERANCE 1e-5   // relative to the larger of 1 and the value

DeskState Golden;

bool IsNear(const double found, const double wanted) {
   double size = MathMax(1.0, MathAbs(wanted));
   return MathIsValidNumber(found) && MathAbs(found - wanted) <= GOLDEN_TOLERANCE * size;
}

bool Differs(const string what, const int index, const double found, const double wanted) {
   if(IsNear(found, wanted))
      return false;
   PrintFormat("Golden check: %s %d is %.9G here and %.9G in the training", what, index, found, wanted);
   return true;
}

void GoldenBar(const int number, RawBar &row) {
   row.time = GOLDEN_TIME[number];
   for(int i = 0; i < NUM_SYMBOLS; i++) {
      int at = number * NUM_SYMBOLS + i;
      row.open[i] = GOLDEN_OPEN[at];
      row.high[i] = GOLDEN_HIGH[at];
      row.low[i] = GOLDEN_LOW[at];
      row.close[i] = GOLDEN_CLOSE[at];
      row.spread[i] = GOLDEN_SPREAD[at];
      row.volume[i] = GOLDEN_VOLUME[at];
      row.tradable[i] = GOLDEN_TRADABLE[at];
   }
}

void GoldenFacts(SymbolFacts &facts[]) {
   for(int i = 0; i < NUM_SYMBOLS; i++) {
      facts[i].contract_size = MODEL_CONTRACT_SIZE[i];
      facts[i].volume_min = MODEL_MIN_LOT[i];
      facts[i].volume_step = MODEL_LOT_STEP[i];
      facts[i].volume_max = MODEL_MAX_LOT[i];
      facts[i].volume_limit = 0.0;
   }
}

// What the policies see and do at the last golden bar: the shipped ONNX against the training's own networks.
bool PoliciesDiffer() {
   DecisionInputs inputs;
   ActionValues action;
   for(int i = 0; i < NUM_INPUTS; i++)
      inputs.values[i] = GOLDEN_INPUTS[i];
   if(!Decide(inputs, action))
      return true;
   for(int i = 0; i < NUM_ACTIONS; i++)
      if(Differs("action", i, action.values[i], GOLDEN_ACTION[i]))
         return true;
   return false;
}

bool RowsDiffer() {
   for(int i = 0; i < NUM_FEATURES; i++)
      if(Differs("feature", i, Golden.now.features[i], GOLDEN_FEATURES[i]))
         return true;
   for(int i = 0; i < NUM_INPUTS; i++)
      if(Differs("input", i, Seen.values[i], GOLDEN_INPUTS[i]))
         return true;
   return Differs("equity", 0, Golden.book.book_equity[0], GOLDEN_EQUITY);
}

// True where everything is as in the training.
bool GoldenCheck() {
   SymbolFacts facts[NUM_SYMBOLS];
   double held[NUM_SYMBOLS];
   double lots[NUM_SYMBOLS];
   ArrayInitialize(held, 0.0);
   ArrayInitialize(lots, 0.0);
   GoldenFacts(facts);
   ZeroMemory(Golden);
   if(PoliciesDiffer())
      return false;
   for(int number = 0; number < GOLDEN_BARS; number++) {
      RawBar row;
      GoldenBar(number, row);
      bool decides = number >= GOLDEN_FIRST;
      if(!AdvanceDesk(Golden, row, row.time, decides))
         return false;
      if(!decides)
         continue;
      SizeLots(Golden, GOLDEN_CAPITAL, held, facts, lots);
      for(int slot = 0; slot < NUM_SLOTS; slot++)
         if(Differs("weight", slot, Golden.target.weights[slot], GOLDEN_WEIGHTS[(number - GOLDEN_FIRST) * NUM_SLOTS + slot]))
            return false;
      for(int i = 0; i < NUM_TRADED; i++) {
         if(Differs("lots", i, lots[i], GOLDEN_LOTS[(number - GOLDEN_FIRST) * NUM_TRADED + i]))
            return false;
         held[i] = lots[i];
      }
   }
   return !RowsDiffer();
}
