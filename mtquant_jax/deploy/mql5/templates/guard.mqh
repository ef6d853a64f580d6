// What must hold before an order is sent, and the kill switch on the day's loss and on equity.

string StopVariable() {
   return "MTQuant.stop." + IntegerToString(InpMagic);
}

// Losses are shares of the capital that is traded with: they include whatever else happens on the account.
double LossSince(const double equity_before, const double equity) {
   double capital = InpCapitalShare * equity_before;
   return capital > 0.0 ? (equity_before - equity) / capital : 0.0;
}

// Looks at the account; true where everything must be closed. A new day begins with the equity at its first look.
bool MustBeFlat() {
   double equity = AccountInfoDouble(ACCOUNT_EQUITY);
   if(equity <= 0.0 && !TerminalInfoInteger(TERMINAL_CONNECTED))
      return false;   // nothing is known of the account
   int day = BrokerDay(ToUtc(InpServerClock, (long)TimeTradeServer(), 0));
   if(State.start_equity <= 0.0)
      State.start_equity = equity;
   if(day != State.day || State.day_equity <= 0.0) {
      State.day = day;
      State.day_equity = equity;
      State.day_closed = false;
   }
   if(!State.day_closed && InpDayLoss > 0.0 && LossSince(State.day_equity, equity) >= InpDayLoss) {
      State.day_closed = true;
      Alert(StringFormat("Kill switch: the day's loss is %.2f %% of the capital; all is closed until tomorrow",
                         100.0 * LossSince(State.day_equity, equity)));
      SaveState();
   }
   bool by_hand = GlobalVariableCheck(StopVariable()) && GlobalVariableGet(StopVariable()) > 0.0;
   bool too_low = InpEquityLoss > 0.0 && LossSince(State.start_equity, equity) >= InpEquityLoss;
   if(!State.stopped && (by_hand || too_low)) {
      State.stopped = true;
      Alert(by_hand ? "Kill switch: stopped by hand; all is closed" : "Kill switch: equity is too low; all is closed");
      SaveState();
   }
   return State.stopped || State.day_closed || State.ended;
}

// Trading starts again after a stop for good only by the user's wish; the losses are counted from then on.
void ClearStop() {
   State.stopped = false;
   State.day_closed = false;
   State.start_equity = 0.0;
   State.day_equity = 0.0;
   GlobalVariableDel(StopVariable());
}

// A demo account, or the real one whose login the user gave.
bool IsAllowedAccount() {
   if(InpDryRun || AccountInfoInteger(ACCOUNT_TRADE_MODE) == ACCOUNT_TRADE_MODE_DEMO)
      return true;
   return InpRealLogin != 0 && AccountInfoInteger(ACCOUNT_LOGIN) == InpRealLogin;
}

bool IsTradingAllowed() {
   return TerminalInfoInteger(TERMINAL_CONNECTED) && TerminalInfoInteger(TERMINAL_TRADE_ALLOWED) &&
          MQLInfoInteger(MQL_TRADE_ALLOWED) && AccountInfoInteger(ACCOUNT_TRADE_ALLOWED) &&
          AccountInfoInteger(ACCOUNT_TRADE_EXPERT) && IsAllowedAccount();
}

// Whether a trade session of the symbol is open at a time of the server clock.
bool IsSessionOpen(const string symbol, const datetime now) {
   MqlDateTime parts;
   TimeToStruct(now, parts);
   long second = (long)now % DAY_SECONDS;
   datetime from, to;
   for(uint session = 0; SymbolInfoSessionTrade(symbol, (ENUM_DAY_OF_WEEK)parts.day_of_week, session, from, to); session++)
      if(second >= (long)from && second < (long)to)
         return true;
   return false;
}

// Whether the symbol's trade mode takes a deal: lots are signed, adds says whether they enlarge a position.
bool IsModeOpen(const string symbol, const double lots, const bool adds) {
   long mode = SymbolInfoInteger(symbol, SYMBOL_TRADE_MODE);
   if(mode == SYMBOL_TRADE_MODE_DISABLED)
      return false;
   if(!adds || mode == SYMBOL_TRADE_MODE_FULL)
      return true;
   if(mode == SYMBOL_TRADE_MODE_LONGONLY)
      return lots > 0.0;
   return mode == SYMBOL_TRADE_MODE_SHORTONLY && lots < 0.0;
}

// The usual spread of a symbol, price units: that of its recent bars, or the model's where they have none.
double UsualSpread(const int index) {
   double recent = State.carried.spread[index];
   return recent > MODEL_SPREAD[index] ? recent : MODEL_SPREAD[index];
}

bool IsSpreadFair(const int index, const MqlTick &quote) {
   return InpMaxSpread <= 0.0 || quote.ask - quote.bid <= InpMaxSpread * UsualSpread(index);
}
