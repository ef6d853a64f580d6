// Wanted lots -> deals: only the difference to what is held under our magic number is traded, so that nothing is done
// twice. Every deal is checked before it is sent, tried again only where that can help, and looked up afterwards.

#define SETTLE_SECONDS 15     // in which a deal must show in the positions
#define MOST_DEALS 10         // of a symbol and bar
#define NUM_QUOTES 64

struct OrderProgress {
   bool done;
   int  deals;
   long unsettled_until;      // server clock; 0: nothing is on its way
   double lots_before;        // held when the last deal was sent
};

OrderProgress Progress[NUM_TRADED];

struct SentQuote {
   ulong  order;
   double bid;
   double ask;
};

SentQuote Quotes[NUM_QUOTES];         // of the last orders, in a ring
int NextQuote = 0;

bool IsHedging() {
   return AccountInfoInteger(ACCOUNT_MARGIN_MODE) == ACCOUNT_MARGIN_MODE_RETAIL_HEDGING;
}

// Signed lots of the selected position.
double SelectedLots() {
   double lots = PositionGetDouble(POSITION_VOLUME);
   return PositionGetInteger(POSITION_TYPE) == POSITION_TYPE_BUY ? lots : -lots;
}

// Signed lots of a symbol under our magic number; in a dry run those that would be held.
double HeldLots(const int index) {
   if(InpDryRun)
      return State.paper_lots[index];
   double lots = 0.0;
   for(int i = PositionsTotal() - 1; i >= 0; i--) {
      ulong ticket = PositionGetTicket(i);
      if(ticket == 0 || PositionGetString(POSITION_SYMBOL) != BrokerName[index])
         continue;
      if(PositionGetInteger(POSITION_MAGIC) == InpMagic)
         lots += SelectedLots();
   }
   return lots;
}

// On a netting account a symbol has one position: one of another magic number would be changed by our deals.
bool IsTakenByOthers(const int index) {
   if(InpDryRun || IsHedging() || !PositionSelect(BrokerName[index]))
      return false;
   return PositionGetInteger(POSITION_MAGIC) != InpMagic;
}

// Whether an order of ours for the symbol is still on its way.
bool HasOpenOrder(const int index) {
   for(int i = OrdersTotal() - 1; i >= 0; i--) {
      ulong ticket = OrderGetTicket(i);
      if(ticket != 0 && OrderGetString(ORDER_SYMBOL) == BrokerName[index] && OrderGetInteger(ORDER_MAGIC) == InpMagic)
         return true;
   }
   return false;
}

// The oldest position of ours in a symbol, which a hedging account closes first; 0 where there is none.
ulong OldestPosition(const int index, double &lots) {
   ulong found = 0;
   long oldest = 0;
   for(int i = PositionsTotal() - 1; i >= 0; i--) {
      ulong ticket = PositionGetTicket(i);
      if(ticket == 0 || PositionGetString(POSITION_SYMBOL) != BrokerName[index] ||
         PositionGetInteger(POSITION_MAGIC) != InpMagic)
         continue;
      long opened = PositionGetInteger(POSITION_TIME_MSC);
      if(found == 0 || opened < oldest) {
         found = ticket;
         oldest = opened;
         lots = SelectedLots();
      }
   }
   return found;
}

// The filling mode to try, out of those that the symbol's bit mask allows; attempt counts from 0.
ENUM_ORDER_TYPE_FILLING FillingOf(const string symbol, const int attempt) {
   ENUM_ORDER_TYPE_FILLING allowed[3];
   int count = 0;
   long mask = SymbolInfoInteger(symbol, SYMBOL_FILLING_MODE);
   if((mask & SYMBOL_FILLING_IOC) != 0)
      allowed[count++] = ORDER_FILLING_IOC;
   if((mask & SYMBOL_FILLING_FOK) != 0)
      allowed[count++] = ORDER_FILLING_FOK;
   if(SymbolInfoInteger(symbol, SYMBOL_TRADE_EXEMODE) != SYMBOL_TRADE_EXECUTION_MARKET || count == 0)
      allowed[count++] = ORDER_FILLING_RETURN;
   return allowed[attempt % count];
}

// A price on the symbol's grid.
double OnGrid(const int index, const double price) {
   double tick = Facts[index].tick_size > 0.0 ? Facts[index].tick_size : Facts[index].point;
   return NormalizeDouble(MathRound(price / tick) * tick, Facts[index].digits);
}

// The price of the emergency stop, no nearer than the broker's stop level; 0: none.
double EmergencyStop(const int index, const bool buys, const MqlTick &quote) {
   if(InpEmergencyStop <= 0.0)
      return 0.0;
   double nearest = (SymbolInfoInteger(BrokerName[index], SYMBOL_TRADE_STOPS_LEVEL) + 1) * Facts[index].point;
   double distance = MathMax(InpEmergencyStop * quote.bid, nearest + quote.ask - quote.bid);
   return OnGrid(index, buys ? quote.bid - distance : quote.ask + distance);
}

// Whether the broker has frozen a position because its stop is about to be reached.
bool IsFrozen(const int index, const ulong ticket, const MqlTick &quote) {
   long level = SymbolInfoInteger(BrokerName[index], SYMBOL_TRADE_FREEZE_LEVEL);
   if(level <= 0 || !PositionSelectByTicket(ticket))
      return false;
   double stop = PositionGetDouble(POSITION_SL);
   double price = PositionGetInteger(POSITION_TYPE) == POSITION_TYPE_BUY ? quote.bid : quote.ask;
   return stop > 0.0 && MathAbs(price - stop) <= level * Facts[index].point;
}

void RememberQuote(const ulong order, const MqlTick &quote) {
   Quotes[NextQuote].order = order;
   Quotes[NextQuote].bid = quote.bid;
   Quotes[NextQuote].ask = quote.ask;
   NextQuote = (NextQuote + 1) % NUM_QUOTES;
}

// What a return code asks for.
#define ANSWER_DONE 0
#define ANSWER_AGAIN 1          // the same order, with a new quote
#define ANSWER_OTHER_FILLING 2
#define ANSWER_UNKNOWN 3        // it may have been executed: look at the positions first
#define ANSWER_REFUSED 4

int AnswerTo(const uint code) {
   switch(code) {
      case TRADE_RETCODE_PLACED:
      case TRADE_RETCODE_DONE:
      case TRADE_RETCODE_DONE_PARTIAL:
         return ANSWER_DONE;
      case TRADE_RETCODE_REQUOTE:
      case TRADE_RETCODE_PRICE_CHANGED:
      case TRADE_RETCODE_PRICE_OFF:
      case TRADE_RETCODE_TOO_MANY_REQUESTS:
      case TRADE_RETCODE_CONNECTION:
         return ANSWER_AGAIN;
      case TRADE_RETCODE_INVALID_FILL:
         return ANSWER_OTHER_FILLING;
      case TRADE_RETCODE_TIMEOUT:
         return ANSWER_UNKNOWN;
   }
   return ANSWER_REFUSED;
}

// A market order of signed lots; position is the ticket that it closes on a hedging account, or 0.
void MakeRequest(const int index, const double lots, const ulong position, const bool adds, const int filling,
                 const MqlTick &quote, MqlTradeRequest &request) {
   ZeroMemory(request);
   request.action = TRADE_ACTION_DEAL;
   request.symbol = BrokerName[index];
   request.volume = NormalizeDouble(MathAbs(lots), 8);
   request.type = lots > 0.0 ? ORDER_TYPE_BUY : ORDER_TYPE_SELL;
   request.price = lots > 0.0 ? quote.ask : quote.bid;
   request.deviation = (ulong)InpDeviation;
   request.type_filling = FillingOf(BrokerName[index], filling);
   request.magic = (ulong)InpMagic;
   request.position = position;
   request.comment = "MTQuant";
   if(adds)
      request.sl = EmergencyStop(index, lots > 0.0, quote);
}

// Sends one deal of signed lots, a bounded number of times; true where something may have changed at the server.
bool SendDeal(const int index, const double lots, const ulong position, const bool adds) {
   int filling = 0;
   for(int attempt = 0; attempt <= InpRetries; attempt++) {
      MqlTick quote;
      MqlTradeRequest request;
      MqlTradeCheckResult checked;
      MqlTradeResult result;
      ZeroMemory(checked);
      ZeroMemory(result);
      if(!SymbolInfoTick(BrokerName[index], quote) || quote.ask <= 0.0 || quote.bid <= 0.0)
         return false;
      MakeRequest(index, lots, position, adds, filling, quote, request);
      if(!OrderCheck(request, checked)) {
         PrintFormat("%s %.2f lots: the check says %u %s", request.symbol, lots, checked.retcode, checked.comment);
         if(AnswerTo(checked.retcode) != ANSWER_OTHER_FILLING)
            return false;
         filling++;
         continue;
      }
      bool sent = OrderSend(request, result);
      int answer = AnswerTo(result.retcode);
      if(answer == ANSWER_DONE || answer == ANSWER_UNKNOWN) {
         RememberQuote(result.order, quote);
         if(answer == ANSWER_UNKNOWN || !sent)
            PrintFormat("%s %.2f lots: answer %u, positions are looked at before anything else", request.symbol, lots,
                        result.retcode);
         return true;
      }
      PrintFormat("%s %.2f lots: the server says %u %s", request.symbol, lots, result.retcode, result.comment);
      if(answer == ANSWER_REFUSED)
         return false;
      if(answer == ANSWER_OTHER_FILLING)
         filling++;
      else
         Sleep(250 << attempt);
   }
   return false;
}

// Whether a deal of ours is still on its way; its lots then are in neither place.
bool IsUnsettled(const int index) {
   if(Progress[index].unsettled_until == 0)
      return false;
   bool shows = MathAbs(HeldLots(index) - Progress[index].lots_before) > 0.5 * Facts[index].volume_step;
   bool late = (long)TimeTradeServer() >= Progress[index].unsettled_until;
   if((!shows && !late) || HasOpenOrder(index))
      return true;
   Progress[index].unsettled_until = 0;
   return false;
}

// Whether anything of a symbol is held under our magic number, in whichever direction.
bool IsHeld(const int index) {
   double lots = 0.0;
   return InpDryRun ? State.paper_lots[index] != 0.0 : OldestPosition(index, lots) != 0;
}

// The lots of the next deal towards the wanted ones, and the position that it closes on a hedging account.
double NextDeal(const int index, const double wanted, const double held, ulong &position) {
   double change = wanted == 0.0 ? -held : WholeSteps(index, wanted - held);   // what closes has whatever size
   position = 0;
   if(InpDryRun || !IsHedging())
      return change;
   double lots = 0.0;
   ulong oldest = OldestPosition(index, lots);
   if(oldest == 0 || (wanted != 0.0 && change * lots >= 0.0))
      return change;
   // Closed first is what opposes the change; nothing wanted closes position by position.
   position = oldest;
   return wanted == 0.0 || MathAbs(lots) < MathAbs(change) ? -lots : change;
}

// Whether a deal may be sent now; what only reduces a position waits for no spread.
bool MayDeal(const int index, const double lots, const bool adds, const ulong position, string &why) {
   MqlTick quote;
   string symbol = BrokerName[index];
   if(!IsTradingAllowed())
      why = "trading is not allowed";
   else if(!IsModeOpen(symbol, lots, adds))
      why = "the symbol's trade mode does not take it";
   else if(!IsSessionOpen(symbol, TimeTradeServer()))
      why = "the session is closed";
   else if(!SymbolInfoTick(symbol, quote))
      why = "there is no quote";
   else if(adds && !IsSpreadFair(index, quote))
      why = "the spread is too large";
   else if(position != 0 && IsFrozen(index, position, quote))
      why = "the position is frozen near its stop";
   else if(IsTakenByOthers(index))
      why = "the position belongs to another magic number";
   else
      return true;
   return false;
}

// Moves one symbol towards its wanted lots by at most one deal; true where nothing is left to do on this bar.
bool MoveTowards(const int index, const double wanted) {
   if(Progress[index].done || IsUnsettled(index))
      return Progress[index].done;
   double held = HeldLots(index);
   ulong position = 0;
   double lots = NextDeal(index, wanted, held, position);
   if(MathAbs(lots) < 0.5 * Facts[index].volume_step) {
      Progress[index].done = true;
      return true;
   }
   bool adds = lots * held >= 0.0 || MathAbs(lots) > MathAbs(held) + 1e-9;
   string why = "";
   if(InpDryRun) {
      Progress[index].done = PaperDeal(index, lots);
      return Progress[index].done;
   }
   if(!MayDeal(index, lots, adds, position, why)) {
      Note(index, wanted, held, lots, why);
      return false;   // tried again until the order window ends
   }
   if(++Progress[index].deals > MOST_DEALS || !SendDeal(index, lots, position, adds)) {
      Note(index, wanted, held, lots, "refused");
      Progress[index].done = true;   // until the next bar
      return true;
   }
   Progress[index].lots_before = held;
   Progress[index].unsettled_until = (long)TimeTradeServer() + SETTLE_SECONDS;
   Note(index, wanted, held, lots, "sent");
   return false;
}

// Forgets what the bar before has tried.
void ForgetProgress() {
   for(int i = 0; i < NUM_TRADED; i++) {
      long unsettled = Progress[i].unsettled_until;
      double lots_before = Progress[i].lots_before;
      ZeroMemory(Progress[i]);
      Progress[i].unsettled_until = unsettled;
      Progress[i].lots_before = lots_before;
   }
}

// Moves every symbol; true where nothing is left to do on this bar.
bool MoveAll() {
   bool done = true;
   for(int i = 0; i < NUM_TRADED; i++)
      done = MoveTowards(i, State.wanted_lots[i]) && done;
   return done;
}

// Closes whatever is held, one deal of each symbol per look, and does not give up.
bool CloseAll() {
   bool flat = true;
   for(int i = 0; i < NUM_TRADED; i++) {
      State.wanted_lots[i] = 0.0;
      if(!IsHeld(i))
         continue;
      flat = false;
      Progress[i].done = false;
      Progress[i].deals = 0;
      MoveTowards(i, 0.0);
   }
   return flat;
}
