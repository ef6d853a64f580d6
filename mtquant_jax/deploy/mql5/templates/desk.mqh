// One bar: its features, the model's own account over it, and what is decided at its close. The model's account trades
// every decision in full at the next open, as in the training; the real one follows it as well as it can.

FeatureBar     NewBar;
FeatureState   NewFeatures;
BookState      NewBook;
BarOutcome     Outcome;
DecisionInputs Seen;

// The model's own account over the last bar, and the decision at its close.
bool DecideAt(DeskState &state) {
   if(!state.has_book) {
      AccountStart(state.now, state.action, state.book);
      state.has_book = true;
   }
   else {
      AccountStep(state.book, state.action, state.before, state.previous, state.now, NewBook, Outcome);
      state.book = NewBook;
      if(Outcome.ended[0])
         state.ended = true;
   }
   PolicyInputs(state.book, state.before, state.previous, state.now, Seen);
   if(!Decide(Seen, state.action)) {
      ZeroMemory(state.action);   // nothing changes
      return false;
   }
   PermitTargets(state.book, state.action, state.before, state.previous, state.now, state.target);
   state.decided_for = state.bar_time;
   state.sized = false;
   return true;
}

// Takes the next row; decides at its close where it is asked to. False where nothing could be decided.
bool AdvanceDesk(DeskState &state, const RawBar &row, const long utc, const bool decides) {
   ToFeatureBar(row, utc, state.bar_utc, NewBar);
   if(!state.has_features) {
      FeatureStart(NewBar, state.features);
      FeatureStep(state.features, NewBar, NewFeatures, state.now);
      state.previous = state.now;   // older bars are taken to equal the first
      state.before = state.now;
      state.has_features = true;
   }
   else {
      state.before = state.previous;
      state.previous = state.now;
      FeatureStep(state.features, NewBar, NewFeatures, state.now);
   }
   state.features = NewFeatures;
   state.bar_time = row.time;
   state.bar_utc = utc;
   state.rows++;
   return decides ? DecideAt(state) : true;
}

// Lots in whole steps, no more than the broker allows in one direction.
double Limited(const SymbolFacts &facts, const double lots) {
   double most = facts.volume_limit > 0.0 ? MathFloor(facts.volume_limit / facts.volume_step) * facts.volume_step : 0.0;
   double whole = MathRound(lots / facts.volume_step) * facts.volume_step;
   if(most <= 0.0)
      return whole;
   return MathMax(-most, MathMin(most, whole));
}

// Lots that an account of some capital should hold: permitted weights x capital / value of a unit, in whole lots.
void SizeLots(const DeskState &state, const double capital, const double &held[], const SymbolFacts &facts[],
              double &lots[]) {
   RealAccount real;
   LotValues wanted;
   real.capital[0] = (float)capital;
   for(int slot = 0; slot < NUM_SLOTS; slot++) {
      int index = SLOT_SYMBOL[slot];
      real.held[slot] = index < 0 ? 0.0f : (float)held[index];
      real.price[slot] = state.now.close[slot];
      real.conversion[slot] = state.now.conversion_close[slot];
      real.contract_size[slot] = index < 0 ? 1.0f : (float)facts[index].contract_size;
      real.min_lot[slot] = index < 0 ? 1.0f : (float)facts[index].volume_min;
      real.lot_step[slot] = index < 0 ? 1.0f : (float)facts[index].volume_step;
      real.max_lot[slot] = index < 0 ? 1.0f : (float)facts[index].volume_max;
   }
   OrderLots(state.target, real, wanted);
   for(int slot = 0; slot < NUM_SLOTS; slot++) {
      int index = SLOT_SYMBOL[slot];
      if(index >= 0)
         lots[index] = Limited(facts[index], state.ended ? 0.0 : (double)wanted.values[slot]);
   }
}
