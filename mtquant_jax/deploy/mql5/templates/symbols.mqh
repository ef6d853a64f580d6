// The model's symbols under the names that the broker gives them, and what one lot of each is there.

string BrokerName[NUM_SYMBOLS];

struct SymbolFacts {
   double contract_size;   // base units of a lot
   double volume_min;      // lots
   double volume_step;     // lots
   double volume_max;      // lots
   double volume_limit;    // lots in one direction; 0: none
   double point;           // price units
   double tick_size;       // price units
   int    digits;
};

SymbolFacts Facts[NUM_SYMBOLS];

// The name after "SYMBOL=" in a list such as "XAUUSD=GOLD;SPX500=US500.cash"; empty where there is none.
string AliasOf(const string symbol, const string aliases) {
   string pairs[];
   int count = StringSplit(aliases, StringGetCharacter(";", 0), pairs);
   for(int i = 0; i < count; i++) {
      int mark = StringFind(pairs[i], "=");
      if(mark < 1)
         continue;
      string left = StringSubstr(pairs[i], 0, mark);
      string right = StringSubstr(pairs[i], mark + 1);
      StringTrimLeft(left);
      StringTrimRight(left);
      StringTrimLeft(right);
      StringTrimRight(right);
      if(left == symbol)
         return right;
   }
   return "";
}

bool ReadFacts(const int index) {
   string name = BrokerName[index];
   Facts[index].contract_size = SymbolInfoDouble(name, SYMBOL_TRADE_CONTRACT_SIZE);
   Facts[index].volume_min = SymbolInfoDouble(name, SYMBOL_VOLUME_MIN);
   Facts[index].volume_step = SymbolInfoDouble(name, SYMBOL_VOLUME_STEP);
   Facts[index].volume_max = SymbolInfoDouble(name, SYMBOL_VOLUME_MAX);
   Facts[index].volume_limit = SymbolInfoDouble(name, SYMBOL_VOLUME_LIMIT);
   Facts[index].point = SymbolInfoDouble(name, SYMBOL_POINT);
   Facts[index].tick_size = SymbolInfoDouble(name, SYMBOL_TRADE_TICK_SIZE);
   Facts[index].digits = (int)SymbolInfoInteger(name, SYMBOL_DIGITS);
   return Facts[index].contract_size > 0.0 && Facts[index].volume_min > 0.0 && Facts[index].volume_step > 0.0 &&
          Facts[index].volume_max > 0.0 && Facts[index].point > 0.0;
}

// Finds every symbol, adds it to the Market Watch and compares it with what the model was trained on.
bool ResolveSymbols(const string suffix, const string aliases) {
   for(int i = 0; i < NUM_SYMBOLS; i++) {
      string alias = AliasOf(MODEL_SYMBOL[i], aliases);
      BrokerName[i] = alias != "" ? alias : MODEL_SYMBOL[i] + suffix;
      if(!SymbolInfoInteger(BrokerName[i], SYMBOL_EXIST) || !SymbolSelect(BrokerName[i], true)) {
         PrintFormat("There is no symbol %s; give the broker's name of %s in InpAliases or InpSuffix", BrokerName[i],
                     MODEL_SYMBOL[i]);
         return false;
      }
      if(!ReadFacts(i)) {
         PrintFormat("%s has no contract size, volume step or point yet; is the terminal connected?", BrokerName[i]);
         return false;
      }
      string currency = SymbolInfoString(BrokerName[i], SYMBOL_CURRENCY_PROFIT);
      if(currency != MODEL_PROFIT_CURRENCY[i]) {
         PrintFormat("%s has its profit in %s, but the model was trained on %s in %s", BrokerName[i], currency,
                     MODEL_SYMBOL[i], MODEL_PROFIT_CURRENCY[i]);
         return false;
      }
      if(MathAbs(Facts[i].contract_size - MODEL_CONTRACT_SIZE[i]) > 1e-9 * MODEL_CONTRACT_SIZE[i])
         PrintFormat("%s: a lot is %G units here and was %G in training; lots are computed with %G", BrokerName[i],
                     Facts[i].contract_size, MODEL_CONTRACT_SIZE[i], Facts[i].contract_size);
   }
   return true;
}

// Money in account currency per price unit and lot.
double MoneyPerPrice(const int index) {
   double value = SymbolInfoDouble(BrokerName[index], SYMBOL_TRADE_TICK_VALUE);
   return Facts[index].tick_size > 0.0 ? value / Facts[index].tick_size : 0.0;
}

// Lots in whole steps; the sign stays.
double WholeSteps(const int index, const double lots) {
   double step = Facts[index].volume_step;
   return MathRound(lots / step) * step;
}
