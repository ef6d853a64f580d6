// What the tests do to the terminal and ask of it.
extern "C" {
void terminal_reset() { auto policy = T.policy; T = Terminal(); T.policy = policy; }
void terminal_policy(void (*policy)(const float *, float *)) { T.policy = policy; }
void terminal_clock(long now, long ahead) { T.now = now; ServerAhead = ahead; }
void terminal_symbol(const char *name, const char *currency, double point, int digits, double contract, double min, double step, double max, double tick_value, int filling) {
   Symbol s = Symbol();
   s.currency = currency; s.point = point; s.digits = digits; s.contract = contract; s.min = min; s.step = step; s.max = max;
   s.tick_value = tick_value; s.filling = filling; s.mode = SYMBOL_TRADE_MODE_FULL; s.open = true;
   T.symbols[name] = s;
}
void terminal_bar(const char *name, long time, double open, double high, double low, double close, long volume, int spread) {
   T.symbols[name].rates.push_back(MqlRates{time, open, high, low, close, volume, spread, 0});
}
void terminal_quote(const char *name, double bid, double ask) { T.symbols[name].quote = MqlTick{T.now, bid, ask}; }
void terminal_session(const char *name, int open) { T.symbols[name].open = open; }
void terminal_account(double equity, long mode, long margin) { T.equity = equity; T.mode = mode; T.margin = margin; }
void terminal_answer(unsigned code) { T.answers.push_back(code); }
void terminal_global(const char *name, double value) { T.globals[name] = value; }
void terminal_deal(const char *name, double lots, long magic) {
   MqlTradeRequest r = MqlTradeRequest();
   r.symbol = name; r.volume = std::fabs(lots); r.type = lots > 0.0 ? ORDER_TYPE_BUY : ORDER_TYPE_SELL;
   execute(r, T.next++, magic);
}
double terminal_lots(const char *name, long magic) {
   double lots = 0.0;
   for(const Position &p : T.positions) if(p.symbol == name && p.magic == magic) lots += p.lots;
   return lots;
}
void terminal_filling(const char *name, int mask) { T.symbols[name].filling = mask; }
double terminal_result() {   // of all deals, after commission
   double sum = 0.0;
   for(const Deal &d : T.deals) sum += d.profit - std::fabs(d.lots);
   return sum;
}
void terminal_hold(int holds) { T.held = holds ? T.now / 3600 * 3600 - 3600 : 0; }
int terminal_sent() { return T.sent; }
int terminal_checked() { return T.checked; }
int terminal_positions() { return (int)T.positions.size(); }
const char *terminal_log() { return T.log.c_str(); }
const char *terminal_file(const char *name) { return T.files.count(name) ? T.files[name].c_str() : ""; }
void terminal_damage(const char *name) { T.files[name][10] ^= 1; }
int advisor_init() { return OnInit(); }
void advisor_look() {
   size_t deals = T.deals.size();
   OnTimer();
   MqlTradeTransaction transaction = {TRADE_TRANSACTION_DEAL_ADD};
   if(T.deals.size() > deals)
      OnTradeTransaction(transaction, MqlTradeRequest(), MqlTradeResult());
}
void advisor_stop() { OnDeinit(0); }
void advisor_forget() {   // what a restart of the terminal does to the variables of a program
   ZeroMemory(State); Ready = false; Locked = false; Checked = 0; JournalDue = true; LastTrouble = ""; NextQuote = 0;
   for(auto &one : Progress) ZeroMemory(one);
   for(auto &one : Quotes) ZeroMemory(one);
   for(auto &one : LastNote) one = "";
}
double advisor_weight(int slot) { return State.target.weights[slot]; }
double advisor_wanted(int index) { return State.wanted_lots[index]; }
double advisor_equity() { return State.book.book_equity[0]; }
long advisor_bar() { return State.bar_utc; }
void calendar_of(const long *utc, int count, int *day, float *nights, float *clock) {
   for(int i = 0; i < count; i++) {
      day[i] = BrokerDay(utc[i]);
      for(int column = 0; column < 6; column++)
         nights[6 * i + column] = ChargedNights(utc[i > 0 ? i - 1 : 0], utc[i], column < 5 ? column : -1);
      ClockValues found;
      ClockColumns(utc[i], found);
      std::memcpy(clock + 7 * i, found.values, sizeof found.values);
   }
}
void calendar_utc(int clock, const long *local, int count, long *utc) {
   for(int i = 0; i < count; i++)
      utc[i] = ToUtc(clock, local[i], i > 0 ? utc[i - 1] : 0);
}
}
