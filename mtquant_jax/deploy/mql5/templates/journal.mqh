// Two tables under MQL5\Files\MTQuant: trades in the columns of the evaluation's trades.csv, and what was decided and
// done on every bar. Trades are made of the account's own deals; in a dry run of those that would have been made.

#define TRADES_HEADER "book,path,symbol,direction,opened,closed,bars,open_price,close_price,lots,max_lots,fills,price_profit,spread,commission,slippage,impact,swap,profit"
#define DECISIONS_HEADER "time,symbol,weight,wanted_lots,held_lots,order_lots,equity,model_equity,note"

struct Fill {
   double lots;          // signed
   double price;
   double bid;           // when the order was sent; 0: not known
   double ask;
   double profit;        // account currency, as the deal says, for the part that it closes
   double commission;    // paid
   double swap;          // received
};

string LastNote[NUM_TRADED];

string BookName() {
   return InpDryRun ? "dry run" : "account";
}

string JournalFile(const string what) {
   return "MTQuant\\" + MODEL_NAME + "." + IntegerToString(InpMagic) + "." + what + (InpDryRun ? ".dry.csv" : ".csv");
}

// A time as in the evaluation's tables: 2024-01-31 09:00, UTC.
string TimeText(const long utc) {
   string text = TimeToString((datetime)utc, TIME_DATE | TIME_MINUTES);
   StringReplace(text, ".", "-");
   return text;
}

bool AppendLine(const string name, const string header, const string line) {
   int file = FileOpen(name, FILE_READ | FILE_WRITE | FILE_TXT | FILE_ANSI | FILE_SHARE_READ);
   if(file == INVALID_HANDLE) {
      PrintFormat("%s cannot be written: error %d", name, GetLastError());
      return false;
   }
   if(FileSize(file) == 0)
      FileWriteString(file, header + "\n");
   FileSeek(file, 0, SEEK_END);
   FileWriteString(file, line + "\n");
   FileClose(file);
   return true;
}

// One line of the decisions; the same note of a symbol and bar is written once.
void Note(const int index, const double wanted, const double held, const double lots, const string what) {
   string key = IntegerToString(State.bar_time) + what + DoubleToString(lots, 4);
   if(LastNote[index] == key)
      return;
   LastNote[index] = key;
   double weight = 0.0;
   for(int slot = 0; slot < NUM_SLOTS; slot++)
      if(SLOT_SYMBOL[slot] == index)
         weight = State.target.weights[slot];
   string line = TimeText(State.bar_utc) + "," + MODEL_SYMBOL[index] + "," + DoubleToString(weight, 6) + "," +
                 DoubleToString(wanted, 4) + "," + DoubleToString(held, 4) + "," + DoubleToString(lots, 4) + "," +
                 DoubleToString(AccountInfoDouble(ACCOUNT_EQUITY), 2) + "," +
                 DoubleToString(State.book.book_equity[0], 6) + "," + what;
   AppendLine(JournalFile("decisions"), DECISIONS_HEADER, line);
}

// The open of the bar in which something happens now, UTC; the row before it is the last one.
long CurrentBarUtc() {
   return State.bar_utc + PeriodSeconds(MODEL_TIMEFRAME);
}

void WriteTrade(const int index, const OpenTrade &trade) {
   double profit = trade.price_profit - trade.spread - trade.commission - trade.slippage + trade.swap;
   string line = BookName() + ",0," + MODEL_SYMBOL[index] + "," + (trade.side > 0 ? "long" : "short") + "," +
                 TimeText(trade.opened) + "," + TimeText(CurrentBarUtc()) + "," +
                 IntegerToString(State.rows - trade.opened_bar) + "," +
                 StringFormat("%.8g,%.8g,%.6g,%.6g,%d,", trade.value_in / trade.lots_in, trade.value_out / trade.lots_out,
                              trade.lots_in, trade.max_lots, trade.fills) +
                 StringFormat("%.2f,%.2f,%.2f,%.2f,0.00,%.2f,%.2f", trade.price_profit, trade.spread, trade.commission,
                              trade.slippage, trade.swap, profit);
   AppendLine(JournalFile("trades"), TRADES_HEADER, line);
}

// Adds lots of one side to a trade, or closes lots of it. The spread is paid by purchases, as in the simulator.
void Book(const int index, OpenTrade &trade, const Fill &fill, const double lots, const bool opens) {
   double size = MathAbs(lots);
   double share = size / MathAbs(fill.lots);
   double money = size * MoneyPerPrice(index);
   double spread = 0.0;
   double slippage = 0.0;
   if(fill.ask > 0.0) {
      spread = lots > 0.0 ? (fill.ask - fill.bid) * money : 0.0;
      slippage = (lots > 0.0 ? fill.price - fill.ask : fill.bid - fill.price) * money;
   }
   trade.fills++;
   trade.spread += spread;
   trade.slippage += slippage;
   trade.price_profit += spread + slippage;   // the deal's own profit is after both
   trade.commission += fill.commission * share;
   if(opens) {
      trade.lots += size;
      trade.lots_in += size;
      trade.value_in += size * fill.price;
      trade.max_lots = MathMax(trade.max_lots, trade.lots);
   }
   else {
      trade.lots -= size;
      trade.lots_out += size;
      trade.value_out += size * fill.price;
      trade.price_profit += fill.profit;
      trade.swap += fill.swap;
   }
}

// A fill changes, ends or begins the trade of its symbol; one that flips the position ends one and begins the next.
void BookFill(const int index, const Fill &fill) {
   int side = fill.lots > 0.0 ? 1 : -1;
   double left = MathAbs(fill.lots);
   double smallest = 0.5 * Facts[index].volume_step;
   if(State.trades[index].side == -side) {
      double closed = MathMin(left, State.trades[index].lots);
      Book(index, State.trades[index], fill, side * closed, false);
      left -= closed;
      if(State.trades[index].lots < smallest) {
         WriteTrade(index, State.trades[index]);
         ZeroMemory(State.trades[index]);
      }
   }
   if(left < smallest)
      return;
   if(State.trades[index].side == 0) {
      ZeroMemory(State.trades[index]);
      State.trades[index].side = side;
      State.trades[index].opened = CurrentBarUtc();
      State.trades[index].opened_bar = State.rows;
   }
   Book(index, State.trades[index], fill, side * left, true);
}

// A deal of a dry run: filled in full at the quote. It costs the spread; commission and swap are not charged.
bool PaperDeal(const int index, const double lots) {
   MqlTick quote;
   if(!SymbolInfoTick(BrokerName[index], quote) || !IsSessionOpen(BrokerName[index], TimeTradeServer()))
      return false;
   Fill fill;
   ZeroMemory(fill);
   fill.lots = lots;
   fill.bid = quote.bid;
   fill.ask = quote.ask;
   fill.price = lots > 0.0 ? quote.ask : quote.bid;
   double side = State.trades[index].side;
   if(side * lots < 0.0 && State.trades[index].lots_in > 0.0) {
      double entry = State.trades[index].value_in / State.trades[index].lots_in;
      double closed = MathMin(MathAbs(lots), State.trades[index].lots);
      fill.profit = side * closed * (fill.price - entry) * MoneyPerPrice(index);
   }
   Note(index, State.wanted_lots[index], State.paper_lots[index], lots, "dry run");
   BookFill(index, fill);
   State.paper_lots[index] = NormalizeDouble(State.paper_lots[index] + lots, 8);
   return SaveState();
}

// Whether a deal is ours: by its magic number, or because its position was opened under it.
bool IsOurDeal(const ulong deal) {
   if(HistoryDealGetInteger(deal, DEAL_MAGIC) == InpMagic)
      return true;
   long position = HistoryDealGetInteger(deal, DEAL_POSITION_ID);
   for(int i = HistoryDealsTotal() - 1; i >= 0; i--) {
      ulong other = HistoryDealGetTicket(i);
      if(HistoryDealGetInteger(other, DEAL_POSITION_ID) == position &&
         HistoryDealGetInteger(other, DEAL_MAGIC) == InpMagic)
         return true;
   }
   return false;
}

int TradedSymbol(const string name) {
   for(int i = 0; i < NUM_TRADED; i++)
      if(BrokerName[i] == name)
         return i;
   return -1;
}

void ReadFill(const ulong deal, Fill &fill) {
   ZeroMemory(fill);
   double lots = HistoryDealGetDouble(deal, DEAL_VOLUME);
   fill.lots = HistoryDealGetInteger(deal, DEAL_TYPE) == DEAL_TYPE_BUY ? lots : -lots;
   fill.price = HistoryDealGetDouble(deal, DEAL_PRICE);
   fill.profit = HistoryDealGetDouble(deal, DEAL_PROFIT);
   fill.commission = -HistoryDealGetDouble(deal, DEAL_COMMISSION) - HistoryDealGetDouble(deal, DEAL_FEE);
   fill.swap = HistoryDealGetDouble(deal, DEAL_SWAP);
   ulong order = (ulong)HistoryDealGetInteger(deal, DEAL_ORDER);
   for(int i = 0; i < NUM_QUOTES; i++) {
      if(Quotes[i].order == order && order != 0) {
         fill.bid = Quotes[i].bid;
         fill.ask = Quotes[i].ask;
      }
   }
}

// Enters all deals since the last look, also those that a stop, a margin call or a hand has made.
void UpdateJournal() {
   if(InpDryRun || !HistorySelect((datetime)State.journal_from, TimeTradeServer() + DAY_SECONDS))
      return;
   ulong last = State.last_deal;
   int count = HistoryDealsTotal();
   for(int i = 0; i < count; i++) {
      ulong deal = HistoryDealGetTicket(i);
      if(deal == 0 || deal <= State.last_deal)
         continue;
      last = deal > last ? deal : last;
      long type = HistoryDealGetInteger(deal, DEAL_TYPE);
      int index = TradedSymbol(HistoryDealGetString(deal, DEAL_SYMBOL));
      if(index < 0 || (type != DEAL_TYPE_BUY && type != DEAL_TYPE_SELL) || !IsOurDeal(deal))
         continue;
      Fill fill;
      ReadFill(deal, fill);
      BookFill(index, fill);
   }
   if(last == State.last_deal)
      return;
   State.last_deal = last;
   SaveState();
}

// What is held against what the journal says: a difference is reported, and the position counts.
void ReconcilePositions() {
   UpdateJournal();
   for(int i = 0; i < NUM_TRADED; i++) {
      double held = HeldLots(i);
      double booked = State.trades[i].side * State.trades[i].lots;
      if(MathAbs(held - booked) > 0.5 * Facts[i].volume_step)
         PrintFormat("%s: %.2f lots are held, the journal has %.2f; orders start from what is held", BrokerName[i], held,
                     booked);
      if(IsTakenByOthers(i))
         PrintFormat("%s has a position of another magic number, which is left alone; the symbol is not traded",
                     BrokerName[i]);
   }
   for(int i = PositionsTotal() - 1; i >= 0; i--) {
      ulong ticket = PositionGetTicket(i);
      if(ticket != 0 && PositionGetInteger(POSITION_MAGIC) == InpMagic &&
         TradedSymbol(PositionGetString(POSITION_SYMBOL)) < 0)
         PrintFormat("%s has a position of our magic number, but the model does not trade it; it is left alone",
                     PositionGetString(POSITION_SYMBOL));
   }
}
