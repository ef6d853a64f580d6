// Finished bars of all symbols, row by row, as the training read them: a row wherever a traded symbol has a bar, the
// last close carried for those that have none. CopyRates is asked by time and never beyond the last finished bar.

#define LONGEST_WAIT 60   // seconds after its close that a bar which must exist is waited for

struct RawBar {
   long   time;                   // open, server clock
   double open[NUM_SYMBOLS];
   double high[NUM_SYMBOLS];
   double low[NUM_SYMBOLS];
   double close[NUM_SYMBOLS];
   double spread[NUM_SYMBOLS];    // price units
   double volume[NUM_SYMBOLS];    // ticks
   bool   tradable[NUM_SYMBOLS];
};

struct CarriedBar {
   double close[NUM_SYMBOLS];     // 0: no bar yet
   double spread[NUM_SYMBOLS];    // the last one above zero
};

struct SymbolBars {
   MqlRates rates[];              // oldest first
   int      next;                 // of the bars, the first that no row holds yet
};

SymbolBars Loaded[NUM_SYMBOLS];

// The open of the last bar that is finished at a time of the server clock.
long LastFinished(const long now) {
   long seconds = PeriodSeconds(MODEL_TIMEFRAME);
   return (now / seconds) * seconds - seconds;
}

// Whether a symbol was quoted since the open of a finished bar and the terminal has not made the bar yet.
bool IsBehind(const int i, const long last) {
   int size = ArraySize(Loaded[i].rates);
   if(size > 0 && (long)Loaded[i].rates[size - 1].time >= last)
      return false;
   if(SymbolInfoInteger(BrokerName[i], SYMBOL_TIME) < last)
      return false;
   return SeriesInfoInteger(BrokerName[i], MODEL_TIMEFRAME, SERIES_LASTBAR_DATE) < last;
}

// Loads the bars of every symbol whose open is from one time to another, both included, server clock. False while the
// terminal still downloads history.
bool LoadBars(const long from, const long to) {
   for(int i = 0; i < NUM_SYMBOLS; i++) {
      ArrayFree(Loaded[i].rates);
      ArraySetAsSeries(Loaded[i].rates, false);
      Loaded[i].next = 0;
      ResetLastError();
      int count = CopyRates(BrokerName[i], MODEL_TIMEFRAME, (datetime)from, (datetime)to, Loaded[i].rates);
      if(count < 0) {
         if(!SeriesInfoInteger(BrokerName[i], MODEL_TIMEFRAME, SERIES_SYNCHRONIZED))
            return false;
         if(iTime(BrokerName[i], MODEL_TIMEFRAME, 1) == 0)
            return false;
         ArrayResize(Loaded[i].rates, 0);   // synchronised, and without a bar in that time
      }
      int size = ArraySize(Loaded[i].rates);
      if(size > 1 && Loaded[i].rates[0].time > Loaded[i].rates[size - 1].time) {
         PrintFormat("%s: bars are not oldest first", BrokerName[i]);
         return false;
      }
      bool waits = (long)TimeTradeServer() < to + PeriodSeconds(MODEL_TIMEFRAME) + LONGEST_WAIT;
      if(waits && IsBehind(i, to))
         return false;
   }
   return true;
}

// Keeps the last price of a symbol, and its last spread above zero.
void Carry(const int i, const MqlRates &bar, CarriedBar &carried) {
   carried.close[i] = bar.close;
   if(bar.spread > 0)
      carried.spread[i] = bar.spread * Facts[i].point;
}

// What one symbol brings to the row of a time.
void FillFrom(const int i, const long time, CarriedBar &carried, RawBar &row) {
   int size = ArraySize(Loaded[i].rates);
   while(Loaded[i].next < size && (long)Loaded[i].rates[Loaded[i].next].time < time)
      Carry(i, Loaded[i].rates[Loaded[i].next++], carried);   // of a symbol that only converts, between two rows
   bool here = Loaded[i].next < size && (long)Loaded[i].rates[Loaded[i].next].time == time;
   row.tradable[i] = here;
   if(here) {
      MqlRates bar = Loaded[i].rates[Loaded[i].next++];
      Carry(i, bar, carried);
      row.open[i] = bar.open;
      row.high[i] = bar.high;
      row.low[i] = bar.low;
      row.volume[i] = (double)bar.tick_volume;
   }
   else {
      row.open[i] = carried.close[i];
      row.high[i] = carried.close[i];
      row.low[i] = carried.close[i];
      row.volume[i] = 0.0;
   }
   row.close[i] = carried.close[i];
   row.spread[i] = carried.spread[i] > 0.0 ? carried.spread[i] : MODEL_SPREAD[i];
}

// The next row of the loaded bars; false where there are no more.
bool NextRow(CarriedBar &carried, RawBar &row) {
   long time = 0;
   for(int i = 0; i < NUM_TRADED; i++) {
      if(Loaded[i].next >= ArraySize(Loaded[i].rates))
         continue;
      long candidate = (long)Loaded[i].rates[Loaded[i].next].time;
      if(time == 0 || candidate < time)
         time = candidate;
   }
   if(time == 0)
      return false;
   row.time = time;
   for(int i = 0; i < NUM_SYMBOLS; i++)
      FillFrom(i, time, carried, row);
   return true;
}

// Whether no traded symbol has a further bar among the loaded ones.
bool IsLastRow() {
   for(int i = 0; i < NUM_TRADED; i++)
      if(Loaded[i].next < ArraySize(Loaded[i].rates))
         return false;
   return true;
}

// Whether every symbol has had a bar, so that rows are complete.
bool IsComplete(const CarriedBar &carried) {
   for(int i = 0; i < NUM_SYMBOLS; i++)
      if(carried.close[i] <= 0.0)
         return false;
   return true;
}

// A row in the form that the generated functions take; before is the UTC time of the row before it, 0 for the first.
void ToFeatureBar(const RawBar &row, const long utc, const long before, FeatureBar &bar) {
   for(int i = 0; i < NUM_SYMBOLS; i++) {
      bar.open[i] = (float)row.open[i];
      bar.high[i] = (float)row.high[i];
      bar.low[i] = (float)row.low[i];
      bar.close[i] = (float)row.close[i];
      bar.spread[i] = (float)row.spread[i];
      bar.volume[i] = (float)row.volume[i];
      bar.tradable[i] = row.tradable[i];
      bar.times_swap_nights[i] = before > 0 ? ChargedNights(before, utc, MODEL_TRIPLE_DAY[i]) : 0.0f;
   }
   ClockValues columns;
   ClockColumns(utc, columns);
   for(int i = 0; i < NUM_CLOCK_COLUMNS; i++)
      bar.times_clock[i] = columns.values[i];
   bar.times_day[0] = BrokerDay(utc);
}
